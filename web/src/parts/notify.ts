/** Notifications of the browser, where the person wants them, for what ends while the page is out of sight. */
import type { RealtimeEvent } from "../realtime/protocol";

const KEY = "reelfleet-notify";
const WORDS: Record<string, string> = {
  "asset.playable.v1": "It can be watched now.",
  "asset.ready.v1": "It is ready in every quality.",
  "asset.failed.v1": "It could not be processed.",
  "asset.refused.v1": "It was refused.",
  "approval.requested.v1": "It waits for a review.",
  "approval.granted.v1": "It was approved.",
  "approval.declined.v1": "It was not approved.",
};

export function notifies(): boolean {
  try {
    return "Notification" in window && Notification.permission === "granted" && localStorage.getItem(KEY) === "on";
  } catch {
    return false;
  }
}

/** False: the browser or the person does not allow it. */
export async function setNotifies(on: boolean): Promise<boolean> {
  if (!("Notification" in window)) return false;
  if (on && (await Notification.requestPermission()) !== "granted") return false;
  localStorage.setItem(KEY, on ? "on" : "off");
  return true;
}

export function notify(event: RealtimeEvent, name: string): void {
  const body = WORDS[event.type];
  if (!body || document.visibilityState === "visible" || !notifies()) return;
  const note = new Notification(name, { body, tag: event.subject, icon: "/favicon.svg" });
  note.onclick = () => {
    window.focus();
    location.assign(`/watch/${event.subject}`);
  };
}
