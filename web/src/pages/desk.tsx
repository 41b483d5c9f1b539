/** The review desk: what waits, oldest first; j and k go through it, a and r decide. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { keys } from "../api/calls";
import { api } from "../api/client";
import { useConnection } from "../app";
import { toast } from "../parts/toast";
import { Empty, Failure, Time, useTitle } from "../parts/ui";
import { realtime } from "../realtime/client";
import { Decide, Decided, Facts, Look, type Review, type Verdict, type WaitingReview } from "./review-parts";

export function Desk({ wanted }: { wanted: string | null }) {
  useTitle("Review");
  const client = useQueryClient();
  const live = useConnection() === "live";
  const found = useQuery({
    queryKey: keys.reviews,
    queryFn: ({ signal }) => api<{ reviews: WaitingReview[] }>("GET", "/v1/reviews?limit=100", { signal }),
    // What begins and ends is told at once; a vote that does not decide yet is not.
    refetchInterval: live ? 60_000 : 5_000,
  });
  useEffect(() => realtime.join("reviews"), []);
  const [chosen, setChosen] = useState<string | null>(wanted);
  const [rejecting, setRejecting] = useState(false);
  const list = found.data?.reviews ?? [];
  const position = Math.max(0, list.findIndex(({ id }) => id === chosen));
  const listed = list[position] ?? null;
  const shown = useQuery({
    queryKey: [...keys.reviews, wanted && !list.some(({ id }) => id === wanted) && chosen === wanted ? wanted : listed?.id],
    queryFn: ({ signal, queryKey }) => api<Review>("GET", `/v1/reviews/${String(queryKey[1])}`, { signal }),
    enabled: found.isSuccess && (listed !== null || wanted !== null),
  });
  const review = shown.data ?? listed;

  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(target.tagName)) return;
      const go = (by: number): void => {
        const next = list[Math.min(list.length - 1, Math.max(0, position + by))];
        if (next) setChosen(next.id);
        setRejecting(false);
      };
      if (event.key === "j") go(1);
      else if (event.key === "k") go(-1);
      else if (event.key === "r") {
        event.preventDefault();
        setRejecting(true);
      } else if (event.key === "a") document.querySelector<HTMLElement>("#verdict button[type=submit]")?.focus();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [list, position]);

  const decide = async (verdict: Verdict): Promise<void> => {
    if (review?.state !== "waiting") return;
    await api("POST", `/v1/reviews/${review.id}/verdict`, {
      body: verdict,
      headers: { "if-match": `"${review.version}"` },
    });
    toast(verdict.verdict === "approve" ? `“${review.asset.name}” approved.` : `“${review.asset.name}” rejected.`);
    setRejecting(false);
    setChosen(list[position + 1]?.id ?? null);
    await client.invalidateQueries({ queryKey: keys.reviews });
  };

  return (
    <>
      <div className="head">
        <h1>Review</h1>
        <p className="quiet small keys-hint">j, k: next, previous · a: to Approve · r: reject</p>
      </div>
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending && <div className="skeleton" style={{ height: 260 }} role="status" aria-label="Loading" />}
      {found.data && !review && (
        <Empty icon="review" title="Nothing waits for you"><p>What needs a verdict appears here by itself, oldest first.</p></Empty>
      )}
      {review && (
        <div className="desk">
          <ul className="card desk-list" aria-label="Waiting">
            {list.map((one) => (
              <li key={one.id}>
                <button
                  type="button"
                  aria-current={one.id === review.id ? "true" : undefined}
                  onClick={() => {
                    setChosen(one.id);
                    setRejecting(false);
                  }}
                >
                  <span className="clip">{one.asset.name}</span>
                  <span className="small quiet"><Time iso={one.requested_at} /></span>
                </button>
              </li>
            ))}
          </ul>
          <section className="stack" aria-label={review.asset.name}>
            <h2>{review.asset.name}</h2>
            {review.state === "waiting" && shown.data && (
              <Look key={review.id} asset={review.asset} original={review.original?.url ?? null} />
            )}
          </section>
          <aside className="card padded stack" id="verdict">
            {review.state === "waiting" ? (
              <>
                <Facts review={review} />
                <Decide key={review.id} review={review} decide={decide} rejecting={rejecting} setRejecting={setRejecting} />
              </>
            ) : <Decided review={review} />}
          </aside>
        </div>
      )}
    </>
  );
}
