/** What the desk and the page of a mail's link have in common: what is asked about, and the verdict. */
import { Fragment, useState, type FormEvent } from "react";
import { Icon } from "../parts/icon";
import { bytes, clock } from "../parts/format";
import { Failure, Field, Note, Time } from "../parts/ui";
import { useShots } from "../parts/tile";
import type { Picture } from "../api/types";

export interface ReviewedAsset {
  id: string;
  name: string;
  description: string;
  owner: string;
  media: string | null;
  duration_ms: number | null;
  width: number | null;
  height: number | null;
  size: number;
  pictures?: Picture[];
}

interface Outcome {
  id: string;
  reason: string | null;
  decided: { by: string | null; at: string } | null;
}

export interface WaitingReview extends Outcome {
  state: "waiting";
  version: number;
  needed: number;
  given: number;
  requested_at: string;
  expires_at: string;
  asset: ReviewedAsset;
  uploader?: { email: string | null; approved_before: number };
  votes?: { by: string; verdict: "approve" | "reject"; reason: string | null; at: string }[];
  /** The source, for a few minutes. */
  original?: { url: string } | null;
}

/** Once it is decided, a link tells no more than that. */
export interface EndedReview extends Outcome {
  state: "granted" | "declined" | "expired" | "cancelled";
  detail?: string;
  asset: { name: string };
}

export type Review = WaitingReview | EndedReview;

export type Verdict = { verdict: "approve" } | { verdict: "reject"; reason: string };

const REASONS = ["Rights are not clear", "The picture or the sound is broken", "It is not for this audience", "Wrong file"];

/** What there is to judge by: the original where the browser can play it, the storyboard in any case. */
export function Look({ asset, original }: { asset: ReviewedAsset; original?: string | null }) {
  // The first link stays: another one would begin again from the start.
  const [source] = useState(original ?? null);
  const [unplayable, setUnplayable] = useState(false);
  const pictures = asset.pictures ?? [];
  const poster = pictures.filter(({ kind, format }) => ["poster", "size"].includes(kind) && format === "jpeg").toSorted((a, b) => b.width - a.width)[0];
  const list = useShots(pictures.find(({ kind }) => kind === "cues")?.url, true);
  const step = Math.max(1, Math.ceil(list.length / 24));
  return (
    <div className="stack">
      {source && asset.media !== "image" && !unplayable ? (
        <video
          className="still-look"
          src={source}
          poster={poster?.url}
          controls
          preload="metadata"
          aria-label={`Original of ${asset.name}`}
          onError={() => setUnplayable(true)}
        />
      ) : poster && <img className="still-look" src={poster.url} alt={`Poster of ${asset.name}`} />}
      {!poster && <Note icon="image">Its pictures are still being made.</Note>}
      {list.length > 0 && (
        <ol className="shots" aria-label="Storyboard">
          {list.filter((_, index) => index % step === 0).map((shot) => (
            <li key={shot.from}>
              <i
                style={{
                  width: shot.w,
                  height: shot.h,
                  backgroundImage: `url("${shot.url}")`,
                  backgroundPosition: `-${shot.x}px -${shot.y}px`,
                }}
              />
              <span className="small quiet numbers">{clock(shot.from)}</span>
            </li>
          ))}
        </ol>
      )}
    </div>
  );
}

export function Facts({ review }: { review: WaitingReview }) {
  const { asset } = review;
  return (
    <dl className="facts">
      <dt>From</dt>
      <dd>
        {review.uploader?.email ?? asset.owner}
        {review.uploader && (
          <span className="quiet"> · {review.uploader.approved_before === 0 ? "nothing approved before" : `${review.uploader.approved_before} approved before`}</span>
        )}
      </dd>
      <dt>Asked</dt><dd><Time iso={review.requested_at} /></dd>
      <dt>Expires</dt><dd><Time iso={review.expires_at} /></dd>
      {asset.duration_ms !== null && <><dt>Length</dt><dd>{clock(asset.duration_ms / 1000)}</dd></>}
      {asset.width !== null && <><dt>Picture</dt><dd>{asset.width} × {asset.height}</dd></>}
      <dt>Size</dt><dd>{bytes(asset.size)}</dd>
      <dt>Approvals</dt><dd>{review.given} of {review.needed}</dd>
      {review.votes?.map(({ by, verdict, at }) => (
        <Fragment key={by}><dt>{verdict === "approve" ? "Approved" : "Rejected"}</dt><dd>{by} <Time iso={at} /></dd></Fragment>
      ))}
    </dl>
  );
}

export function Decided({ review }: { review: EndedReview }) {
  const words = {
    granted: "Approved", declined: "Not approved", expired: "Nobody decided in time", cancelled: "No longer asked",
  }[review.state];
  return (
    <Note tone={review.state === "granted" ? "good" : "warn"} icon={review.state === "granted" ? "done" : "info"}>
      <p>
        {words}
        {review.decided?.by && ` by ${review.decided.by}`}
        {review.decided && <> <Time iso={review.decided.at} /></>}.
      </p>
      {review.reason && <p className="quiet">{review.reason}</p>}
    </Note>
  );
}

export function Decide({
  review, decide, code = false, rejecting, setRejecting,
}: {
  review: WaitingReview;
  decide: (verdict: Verdict, code: string) => Promise<void>;
  /** Whether the code of the mail is asked for. */
  code?: boolean;
  rejecting: boolean;
  setRejecting: (rejecting: boolean) => void;
}) {
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [reason, setReason] = useState("");
  const send = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const digits = String(new FormData(event.currentTarget).get("code") ?? "").replace(/\s/g, "");
    setBusy(true);
    setError(null);
    try {
      await decide(rejecting ? { verdict: "reject", reason: reason.trim() } : { verdict: "approve" }, digits);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="stack" aria-label={`Verdict on ${review.asset.name}`} onSubmit={(event) => void send(event)}>
      {error !== null && <Failure error={error} />}
      {code && (
        <Field label="Code" hint="Six digits. They stand in the mail, not in its link.">
          <input className="input mono" name="code" inputMode="numeric" autoComplete="one-time-code" pattern="[0-9 ]{6,7}" required />
        </Field>
      )}
      {rejecting && (
        <>
          <Field label="Why" hint="The uploader reads this.">
            <textarea className="input" required maxLength={1000} value={reason} autoFocus onChange={({ target }) => setReason(target.value)} />
          </Field>
          <div className="row wrap">
            {REASONS.map((preset) => (
              <button type="button" className="button small" key={preset} onClick={() => setReason(preset)}>{preset}</button>
            ))}
          </div>
        </>
      )}
      <div className="row wrap">
        {rejecting ? (
          <>
            <button type="submit" className="button danger" disabled={busy}>Reject</button>
            <button type="button" className="button plain" onClick={() => setRejecting(false)}>Back</button>
          </>
        ) : (
          <>
            <button type="submit" className="button primary" disabled={busy}><Icon name="check" />Approve</button>
            <button type="button" className="button danger" onClick={() => setRejecting(true)}>Reject…</button>
          </>
        )}
      </div>
    </form>
  );
}
