/** What happened to one's own, as people want to hear of it; and how much of it has been read. */
import { useInfiniteQuery, type InfiniteData, type QueryClient } from "@tanstack/react-query";
import { events, keys, type Events } from "./api/calls";
import type { Happened } from "./api/types";
import type { IconName } from "./parts/icon";

export interface News {
  event: Happened;
  icon: IconName;
  tone: "" | "good" | "warn" | "bad" | "info";
  words: string;
  /** One's own doing: shown, and never unread. */
  own: boolean;
}

type Meant = Omit<News, "event">;

const detail = ({ detail, reason }: Happened["data"]): string => {
  const why = detail ?? reason;
  return typeof why === "string" && why ? `: ${why}` : "";
};

/** What an event means to its owner; null: nothing worth a line. */
export function meant({ type, data }: Happened): Meant | null {
  switch (type) {
    case "asset.ready.v1":
      return { icon: "done", tone: "good", words: "is ready in every quality", own: false };
    case "asset.failed.v1":
      return { icon: "warn", tone: "bad", words: `could not be processed${detail(data)}`, own: false };
    case "asset.refused.v1":
      // A rejection has a line of its own.
      return data.code === "rejected" ? null : { icon: "stop", tone: "bad", words: `was refused${detail(data)}`, own: false };
    case "asset.parked.v1":
      return { icon: "clock", tone: "warn", words: `waits for the budget${detail(data)}`, own: false };
    case "approval.requested.v1":
      return { icon: "clock", tone: "warn", words: "waits for a review", own: false };
    case "approval.granted.v1":
      return { icon: "done", tone: "good", words: "was approved", own: false };
    case "approval.declined.v1":
      return { icon: "stop", tone: "bad", words: `was not approved${detail(data)}`, own: false };
    case "approval.expired.v1":
      return { icon: "clock", tone: "warn", words: "was not reviewed in time", own: false };
    case "asset.deleting.v1":
      return { icon: "trash", tone: "", words: "was deleted, and can be restored for a while", own: true };
    case "asset.restored.v1":
      return { icon: "undo", tone: "", words: "was restored", own: true };
    case "asset.deleted.v1":
      return { icon: "trash", tone: "", words: "is gone for good", own: true };
    default:
      return null;
  }
}

/** As far as it was asked for, the latest first. */
export function useNews() {
  const found = useInfiniteQuery({
    queryKey: keys.events,
    queryFn: ({ pageParam, signal }) => events.list(pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    staleTime: 30_000,
  });
  const news = (found.data?.pages ?? []).flatMap((page) => page.events).flatMap((event): News[] => {
    const means = meant(event);
    return means ? [{ event, ...means }] : [];
  });
  // On whatever device it was read; null: not known yet.
  const seen = found.data?.pages[0]?.seen ?? null;
  return { found, news, seen };
}

/** Read up to here: here at once, and on every other device. Less than before is nothing new. */
export async function see(client: QueryClient, position: number): Promise<void> {
  client.setQueryData<InfiniteData<Events>>(keys.events, (held) => held && read(held, position));
  await events.see(position);
}

/** What is held, read up to a position. */
export function read(held: InfiniteData<Events>, position: number): InfiniteData<Events> {
  return { ...held, pages: held.pages.map((page) => ({ ...page, seen: Math.max(page.seen, position) })) };
}
