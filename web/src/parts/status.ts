/** What a state is called, shown and meant. */
import type { AssetState } from "../api/types";
import type { IconName } from "./icon";

export interface Status {
  text: string;
  icon: IconName;
  tone: "" | "good" | "warn" | "bad" | "info";
  /** Work is under way: the icon turns. */
  busy: boolean;
}

export function statusOf(state: AssetState, progress: number | null): Status {
  const percent = progress === null ? "" : ` ${Math.floor(progress)} %`;
  switch (state) {
    case "uploaded":
      return { text: "Checking", icon: "gear", tone: "info", busy: true };
    case "awaiting_approval":
      return { text: "Waiting for review", icon: "clock", tone: "warn", busy: false };
    case "parked":
      return { text: "Waiting for the budget", icon: "clock", tone: "warn", busy: false };
    case "processing":
      return { text: `Processing${percent}`, icon: "gear", tone: "info", busy: true };
    case "playable":
      return { text: percent ? `Playable ·${percent}` : "Playable", icon: "play", tone: "info", busy: false };
    case "ready":
      return { text: "Ready", icon: "done", tone: "good", busy: false };
    case "refused":
      return { text: "Refused", icon: "stop", tone: "bad", busy: false };
    case "failed":
      return { text: "Failed", icon: "warn", tone: "bad", busy: false };
    case "deleting":
      return { text: "Deleted · can be restored", icon: "trash", tone: "", busy: false };
    case "deleted":
      return { text: "Deleted for good", icon: "trash", tone: "", busy: false };
  }
}
