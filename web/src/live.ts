/** What arrives by realtime, put where pages look: the caches of their queries. */
import type { QueryClient } from "@tanstack/react-query";
import { keys } from "./api/calls";
import type { RealtimeEvent } from "./realtime/protocol";
import { notify } from "./parts/notify";
import { realtime } from "./realtime/client";

/** Several facts of one moment are one look at the lists. */
const GATHER_MS = 400;

export function keepLive(client: QueryClient): () => void {
  let gathering: ReturnType<typeof setTimeout> | undefined;
  const lists = (): void => {
    gathering ??= setTimeout(() => {
      gathering = undefined;
      void client.invalidateQueries({ queryKey: ["assets"] });
      void client.invalidateQueries({ queryKey: keys.reviews });
      void client.invalidateQueries({ queryKey: keys.events });
    }, GATHER_MS);
  };
  const event = (happened: RealtimeEvent): void => {
    const { stream, type, subject, data } = happened;
    if (stream.startsWith("tenant:")) {
      // What a reviewer hears of others' uploads is for the desk alone.
      lists();
      return;
    }
    if (type === "job.progressed.v1") {
      client.setQueryData(keys.progress(subject), Number(data.percent));
      return;
    }
    void client.invalidateQueries({ queryKey: keys.asset(subject) });
    if (!type.startsWith("rendition.")) lists();
    // Of others' assets a page may show the progress; a person is told of their own.
    if (!happened.stream.startsWith("user:")) return;
    const known = client.getQueryData<{ name?: string }>(keys.asset(subject));
    notify(happened, known?.name ?? "reelfleet");
  };
  const ends = [
    realtime.onEvent(event),
    realtime.onRefetch(() => void client.invalidateQueries()),
  ];
  return () => {
    clearTimeout(gathering);
    for (const end of ends) end();
  };
}
