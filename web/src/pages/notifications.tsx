/** What happened to one's own lately, the latest first. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { see, useNews } from "../news";
import { Icon } from "../parts/icon";
import { Empty, Failure, Time, useTitle } from "../parts/ui";
import { More } from "./library";

export function Notifications() {
  useTitle("Notifications");
  const client = useQueryClient();
  const { found, news, seen } = useNews();
  // What was new when the page was opened stays marked while it is open.
  const [first, setFirst] = useState<number | null>(seen);
  if (first === null && seen !== null) setFirst(seen);
  const before = first ?? seen ?? 0;
  const latest = found.data?.pages[0]?.events[0]?.position ?? 0;
  useEffect(() => {
    // Who can't be told now is told by the next visit.
    if (seen !== null && latest > seen) void see(client, latest).catch(() => undefined);
  }, [client, seen, latest]);
  return (
    <>
      <div className="head">
        <h1>Notifications</h1>
        <Link className="button" href="/settings">Mails and this device</Link>
      </div>
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending && <div className="card padded skeleton" style={{ height: 220 }} role="status" aria-label="Loading" />}
      {found.data && news.length === 0 && !found.hasNextPage && (
        <Empty icon="bell" title="Nothing happened lately">
          <p>When something of yours is ready, fails or waits for a review, it is told here.</p>
        </Empty>
      )}
      {news.length > 0 && (
        <ul className="news card" aria-label="What happened">
          {news.map(({ event, icon, tone, words, own }) => (
            <li key={event.id} className={!own && event.position > before ? "new" : undefined}>
              <span className={`pill ${tone}`}><Icon name={icon} /></span>
              <p className="grow">
                {event.name ? <Link href={`/watch/${event.asset}`}>{event.name}</Link> : "Something"} {words}
                {!own && event.position > before && <span className="hidden-text"> (new)</span>}
              </p>
              <span className="quiet small"><Time iso={event.at} /></span>
            </li>
          ))}
        </ul>
      )}
      {found.hasNextPage && <More next={() => void found.fetchNextPage()} busy={found.isFetchingNextPage} />}
    </>
  );
}
