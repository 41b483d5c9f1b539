/**
 * The page behind the link of a review mail.
 *
 * Opening it decides nothing, whoever or whatever opens it: the verdict needs the code that stands in the mail.
 */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { keys } from "../api/calls";
import { api } from "../api/client";
import { Problem } from "../api/problem";
import { Logo } from "../parts/icon";
import { Empty, Failure, useTitle } from "../parts/ui";
import { Decide, Decided, Facts, Look, type Review, type Verdict } from "./review-parts";

export function LinkReview({ token }: { token: string }) {
  useTitle("Review");
  const client = useQueryClient();
  const [rejecting, setRejecting] = useState(false);
  const path = `/v1/reviews/link/${encodeURIComponent(token)}`;
  const found = useQuery({
    queryKey: keys.review(token),
    queryFn: ({ signal }) => api<Review>("GET", path, { signal, anonymous: true }),
  });
  const decide = async (verdict: Verdict, code: string): Promise<void> => {
    await api("POST", `${path}/verdict`, { body: { ...verdict, code }, anonymous: true });
    await client.invalidateQueries({ queryKey: keys.review(token) });
  };
  const review = found.data;
  const gone = found.error instanceof Problem && [404, 410].includes(found.error.status);
  return (
    <>
      <div className="brand" style={{ paddingLeft: 0 }}><Logo />reelfleet</div>
      {gone && <Empty icon="link" title="This link is not good any more"><p>It was used, somebody else has decided, or its time is over.</p></Empty>}
      {found.error && !gone ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending && <div className="skeleton" style={{ height: 260 }} role="status" aria-label="Loading" />}
      {review && (
        <div className="watch">
          <section className="stack" aria-label={review.asset.name}>
            <h1>{review.asset.name}</h1>
            {review.state === "waiting" && <Look asset={review.asset} />}
          </section>
          <aside className="card padded stack">
            {review.state === "waiting" ? (
              <>
                <Facts review={review} />
                <Decide review={review} decide={decide} code rejecting={rejecting} setRejecting={setRejecting} />
              </>
            ) : <Decided review={review} />}
          </aside>
        </div>
      )}
    </>
  );
}
