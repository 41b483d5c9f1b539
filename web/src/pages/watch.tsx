/** One asset: to watch from its first seconds on, to describe, to share, to understand, to take away. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useState, type FormEvent, type ReactNode } from "react";
import { useLocation } from "wouter";
import { assets, isOwn, keys, seen } from "../api/calls";
import { request } from "../api/client";
import { Problem, said } from "../api/problem";
import type { AssetDetail, OpenAsset, OwnReview, ReviewStep, User } from "../api/types";
import { useConnection } from "../app";
import { bytes, clock, took } from "../parts/format";
import { Icon, type IconName } from "../parts/icon";
import { toast } from "../parts/toast";
import { Bar, Copy, Empty, Failure, Field, Modal, Note, Pill, Time, useTitle } from "../parts/ui";
import { Player, type Source } from "../player/player";
import { realtime } from "../realtime/client";
import { Share } from "./share";

const WORKING = ["uploaded", "processing", "playable"];

export function Watch({ id, user }: { id: string; user: User | null }) {
  const live = useConnection() === "live";
  const found = useQuery({
    queryKey: keys.asset(id),
    queryFn: ({ signal }) => seen(id, user !== null, signal),
    refetchInterval: ({ state: { data } }) => (data && WORKING.includes(data.state) && !live ? 3_000 : false),
  });
  const { data: progress = null } = useQuery<number>({ queryKey: keys.progress(id), enabled: false });
  const asset = found.data;
  useTitle(asset?.name ?? "Watch");
  const mine = !!asset && isOwn(asset) && !!user && (asset.owner === user.id || user.roles.includes("admin"));
  const foreign = !!asset && isOwn(asset) && asset.owner !== user?.id;
  // My own events come anyway; those of an asset that somebody else owns are asked for.
  useEffect(() => (foreign ? realtime.join(`asset:${id}`) : undefined), [foreign, id]);

  if (found.error instanceof Problem && [404, 410].includes(found.error.status)) {
    return (
      <Empty icon="film" title="There is nothing to watch here">
        <p>It does not exist, it was deleted, or it is not shared with you.</p>
      </Empty>
    );
  }
  if (found.error && !asset) return <Failure error={found.error} again={() => void found.refetch()} />;
  if (!asset) return <div className="frame skeleton" style={{ aspectRatio: "16 / 9" }} role="status" aria-label="Loading" />;
  const percent = isOwn(asset) ? (progress ?? asset.progress) : null;
  return (
    <div className="watch">
      <div className="stack">
        <Screen asset={asset} progress={percent} />
        <div className="row between wrap">
          <h1 className="grow">{asset.name}</h1>
          <Pill state={asset.state} progress={WORKING.includes(asset.state) ? percent : null} />
        </div>
        {asset.description && <p className="prose">{asset.description}</p>}
        {asset.tags.length > 0 && (
          <p className="row wrap">{asset.tags.map((tag) => <span className="pill" key={tag}>{tag}</span>)}</p>
        )}
        {mine && isOwn(asset) && <Tabs asset={asset} />}
      </div>
      {mine && isOwn(asset) && (
        <aside className="stack">
          <section className="card padded stack" aria-label="Progress">
            <h2>How far it is</h2>
            <Stages asset={asset} progress={percent} />
          </section>
          <Actions asset={asset} />
        </aside>
      )}
    </div>
  );
}

function pictureOf(asset: AssetDetail | OpenAsset, kinds: string[]): string | null {
  const fitting = asset.pictures.filter(({ kind, format }) => kinds.includes(kind) && format === "jpeg");
  return fitting.toSorted((a, b) => b.width - a.width)[0]?.url ?? null;
}

export function Screen({ asset, progress }: { asset: AssetDetail | OpenAsset; progress: number | null }) {
  const [made, setMade] = useState({ until: 0, growing: false });
  const note = useCallback((until: number, growing: boolean) => setMade({ until, growing }), []);
  // The first URL stays while the page is open: another one would begin again from the start.
  const [url, setUrl] = useState<string | null>(null);
  const now = asset.playback?.url ?? null;
  useEffect(() => {
    setUrl((held) => (now ? (held ?? now) : null));
  }, [now]);
  if (asset.media === "image") {
    const still = pictureOf(asset, ["size", "poster"]);
    if (still) return <div className="player"><img className="still" src={still} alt={asset.name} /></div>;
  }
  if (!url) return <Waiting asset={asset} progress={progress} />;
  const duration = (asset.duration_ms ?? 0) / 1000;
  const source: Source = {
    url,
    duration,
    poster: pictureOf(asset, ["poster"]),
    cues: asset.pictures.find(({ kind }) => kind === "cues")?.url ?? null,
    captions: asset.captions ?? [],
    sound: asset.media === "audio",
    title: asset.name,
  };
  return (
    <>
      <Player source={source} onMade={note} />
      {made.growing && made.until > 0 && (
        <Note icon="gear">
          Still being made: playable up to {clock(made.until)} of {clock(duration)}. The rest follows while you watch.
        </Note>
      )}
    </>
  );
}

function Waiting({ asset, progress }: { asset: AssetDetail | OpenAsset; progress: number | null }) {
  const poster = pictureOf(asset, ["poster"]);
  const reason = isOwn(asset) ? asset.reason : null;
  const expired = isOwn(asset) && asset.review?.state === "expired";
  const [icon, words]: [IconName, string] =
    expired ? ["clock", "No reviewer looked at it in time. Its owner can ask again."]
    : asset.state === "awaiting_approval" ? ["clock", "A reviewer looks at it first. It is made playable as soon as it is approved."]
    : asset.state === "parked" ? ["clock", reason?.detail ? `It waits: ${reason.detail}.` : "It waits for the budget, and starts by itself."]
    : asset.state === "refused" || asset.state === "failed" ? ["warn", reason?.detail ?? "It could not be processed."]
    : asset.state === "deleting" ? ["trash", "It is deleted, and plays for nobody. It can still be restored."]
    : asset.state === "deleted" ? ["trash", "It is gone for good."]
    : ["gear", "It is being made playable. This takes seconds, whatever its length."];
  return (
    <div className="player">
      {poster && <img className="still" src={poster} alt="" />}
      {!poster && <div className="still" />}
      <div className="controls">
        <p className="row"><Icon name={icon} spin={icon === "gear"} />{words}</p>
        {WORKING.includes(asset.state) && progress !== null && <Bar percent={progress} label="Processing" />}
      </div>
    </div>
  );
}

const REVIEW = {
  waiting: "Waits for a reviewer", declined: "Not approved", expired: "Not reviewed in time", granted: "Approved",
} as const;

const STEP: Record<ReviewStep["what"], string> = {
  approved: "A reviewer approved",
  rejected: "A reviewer rejected",
  reminded: "Reviewers were reminded",
  escalated: "Others were asked too",
  expired: "Nobody decided in time",
  asked_again: "Asked again",
};

/** How a review went: votes, reminders, expiry, each with its time. */
function Went({ review }: { review: OwnReview }) {
  const again = review.steps.some(({ what }) => what === "asked_again");
  return (
    <ul className="went small quiet" aria-label="Review">
      {/* Once it was asked for again, that is what the time is of. */}
      {!again && <li>Reviewers were asked <Time iso={review.requested_at} /></li>}
      {review.steps.map(({ what, at, by, reason }) => (
        <li key={`${what} ${at} ${by}`}>
          {by ? `${by} ${what}` : STEP[what]} <Time iso={at} />
          {reason && <>: {reason}</>}
        </li>
      ))}
      {review.state === "waiting" && review.needed > 1 && <li>{review.given} of {review.needed} approvals</li>}
    </ul>
  );
}

function Stages({ asset, progress }: { asset: AssetDetail; progress: number | null }) {
  const wrong = asset.state === "refused" || asset.state === "failed";
  const probed = asset.probe !== null || asset.media !== null;
  const { playable_ms: playable, ready_ms: ready } = asset.timings;
  type Stage = { name: string; at: string | null; after: number | null; reached: boolean; more?: ReactNode };
  const list: Stage[] = [
    { name: "Uploaded", at: asset.landed_at, after: null, reached: true },
    { name: "Checked", at: null, after: null, reached: probed },
    ...(asset.review
      ? [{
          name: REVIEW[asset.review.state],
          at: asset.review.decided_at,
          after: null,
          reached: asset.review.state === "granted",
          more: <Went review={asset.review} />,
        }]
      : []),
    ...(asset.media === "image" ? [] : [{ name: "Playable", at: asset.playable_at, after: playable, reached: !!asset.playable_at }]),
    { name: "Ready in every quality", at: asset.ready_at, after: ready, reached: !!asset.ready_at },
  ];
  const next = list.findIndex(({ reached }) => !reached);
  return (
    <ol className="stages">
      {list.map(({ name, at, after, reached, more }, index) => {
        const here = index === next && asset.state !== "deleting" && asset.state !== "deleted";
        const look = reached ? "reached" : here ? (wrong ? "wrong" : "now") : "";
        const icon: IconName = reached ? "done" : here ? (wrong ? "warn" : "gear") : "circle";
        return (
          <li key={name} className={look} aria-current={here ? "step" : undefined}>
            <Icon name={icon} spin={here && !wrong && asset.state !== "awaiting_approval" && asset.state !== "parked"} />
            <span>
              {name}
              {here && wrong && !more && <span className="quiet small"> · {asset.reason?.detail ?? asset.state}</span>}
              {here && progress !== null && WORKING.includes(asset.state) && <span className="quiet small numbers"> · {Math.floor(progress)} %</span>}
              {more}
            </span>
            <span className="quiet small">{after !== null ? `after ${took(after)}` : at ? <Time iso={at} /> : null}</span>
          </li>
        );
      })}
    </ol>
  );
}

function Actions({ asset }: { asset: AssetDetail }) {
  const client = useQueryClient();
  const [, go] = useLocation();
  const [asking, setAsking] = useState(false);
  const renew = (): Promise<unknown> =>
    Promise.all([
      client.invalidateQueries({ queryKey: keys.asset(asset.id) }),
      client.invalidateQueries({ queryKey: ["assets"] }),
    ]);
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      toast(said(error));
    }
    await renew();
  };
  const restore = (): Promise<void> =>
    attempt(async () => {
      await assets.restore(asset.id);
      toast(`“${asset.name}” is back.`);
    });
  const askAgain = (): Promise<void> =>
    attempt(async () => {
      await assets.askAgain(asset.id);
      toast("Its reviewers are asked again.");
    });
  const remove = (): Promise<void> =>
    attempt(async () => {
      await assets.remove(asset.id);
      toast(`“${asset.name}” deleted. It can be restored for a while.`, { label: "Undo", run: () => void restore() });
      go("/");
    });
  const purge = (): Promise<void> =>
    attempt(async () => {
      setAsking(false);
      await assets.purge(asset.id);
      toast(`“${asset.name}” is being deleted for good.`);
      go("/");
    });
  const download = (): Promise<void> =>
    attempt(async () => {
      const { url } = await assets.original(asset.id);
      location.assign(url);
    });
  if (asset.state === "deleted") return null;
  if (asset.state === "deleting") {
    return (
      <section className="card padded stack" aria-label="Deletion">
        <h2>Deleted</h2>
        {asset.deletion?.restorable_until && (
          <p className="quiet">It can be restored until <Time iso={asset.deletion.restorable_until} />; then every copy is removed.</p>
        )}
        <button type="button" className="button primary" onClick={() => void restore()}><Icon name="undo" />Restore</button>
        <button type="button" className="button danger" onClick={() => setAsking(true)}><Icon name="trash" />Delete for good</button>
        {asking && <Purge name={asset.name} close={() => setAsking(false)} purge={() => void purge()} />}
      </section>
    );
  }
  return (
    <section className="card padded stack" aria-label="Share and keep">
      <h2>Share and keep</h2>
      {asset.review?.state === "expired" && (
        <button type="button" className="button primary" onClick={() => void askAgain()}><Icon name="review" />Ask for a review again</button>
      )}
      <Share asset={asset} renew={renew} />
      <button type="button" className="button" onClick={() => void download()}>
        <Icon name="download" />
        Download original ({bytes(asset.source.size)})
      </button>
      <button type="button" className="button danger" onClick={() => void remove()}><Icon name="trash" />Delete</button>
    </section>
  );
}

function Purge({ name, close, purge }: { name: string; close: () => void; purge: () => void }) {
  return (
    <Modal title="Delete for good?" close={close}>
      <p>“{name}”, its original and everything made from it are removed now. Nobody can bring them back.</p>
      <div className="row">
        <button type="button" className="button danger" onClick={purge}>Delete for good</button>
        <button type="button" className="button plain" onClick={close}>Keep it</button>
      </div>
    </Modal>
  );
}

const TABS = ["Details", "Captions", "Technical"] as const;

function Tabs({ asset }: { asset: AssetDetail }) {
  const [open, setOpen] = useState<(typeof TABS)[number]>("Details");
  const step = (by: number): void => {
    const next = TABS[(TABS.indexOf(open) + by + TABS.length) % TABS.length];
    if (!next) return;
    setOpen(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  const panels: Record<(typeof TABS)[number], ReactNode> = {
    Details: <Details key={asset.id} asset={asset} />,
    Captions: <CaptionsOf asset={asset} />,
    Technical: <Technical asset={asset} />,
  };
  return (
    <section className="stack">
      <div className="tabs" role="tablist" aria-label="More about it">
        {TABS.map((name) => (
          <button
            key={name}
            id={`tab-${name}`}
            type="button"
            role="tab"
            aria-selected={open === name}
            aria-controls={`panel-${name}`}
            tabIndex={open === name ? 0 : -1}
            onClick={() => setOpen(name)}
            onKeyDown={({ key }) => {
              if (key === "ArrowRight") step(1);
              if (key === "ArrowLeft") step(-1);
            }}
          >
            {name}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`panel-${open}`} aria-labelledby={`tab-${open}`}>{panels[open]}</div>
    </section>
  );
}

function Details({ asset }: { asset: AssetDetail }) {
  const client = useQueryClient();
  const [name, setName] = useState(asset.name);
  const [description, setDescription] = useState(asset.description);
  const [tags, setTags] = useState(asset.tags.join(", "));
  // Which edition was read: if somebody else has saved since, the server says so and nothing is lost.
  const [edition, setEdition] = useState(asset.edition);
  const [error, setError] = useState<unknown>(null);
  const save = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setError(null);
    try {
      const list = tags.split(",").map((tag) => tag.trim()).filter(Boolean);
      const saved = await assets.edit({ id: asset.id, edition }, { name, description, tags: list });
      setEdition(saved.edition);
      toast("Saved.");
      await client.invalidateQueries({ queryKey: keys.asset(asset.id) });
      await client.invalidateQueries({ queryKey: ["assets"] });
    } catch (problem) {
      setError(problem);
    }
  };
  return (
    <form className="stack" onSubmit={(event) => void save(event)}>
      {error !== null && <Failure error={error} />}
      <Field label="Title"><input className="input" required maxLength={255} value={name} onChange={({ target }) => setName(target.value)} /></Field>
      <Field label="Description">
        <textarea className="input" maxLength={5000} value={description} onChange={({ target }) => setDescription(target.value)} />
      </Field>
      <Field label="Tags" hint="Separated by commas."><input className="input" value={tags} onChange={({ target }) => setTags(target.value)} /></Field>
      <div className="row">
        <button type="submit" className="button primary">Save</button>
        {edition !== asset.edition && <span className="small quiet">It was changed elsewhere meanwhile: load the page again to see that.</span>}
      </div>
    </form>
  );
}

function CaptionsOf({ asset }: { asset: AssetDetail }) {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const renew = (): Promise<void> => client.invalidateQueries({ queryKey: keys.asset(asset.id) });
  const add = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const form = event.currentTarget;
    const fields = new FormData(form);
    const file = fields.get("file");
    const language = String(fields.get("language") ?? "").trim();
    const label = String(fields.get("label") ?? "").trim();
    if (!(file instanceof File) || !language) return;
    setError(null);
    try {
      const query = label ? `?label=${encodeURIComponent(label)}` : "";
      await request("PUT", `/v1/assets/${asset.id}/captions/${encodeURIComponent(language)}${query}`, { raw: file });
      form.reset();
      await renew();
    } catch (problem) {
      setError(problem);
    }
  };
  const remove = async (language: string): Promise<void> => {
    try {
      await request("DELETE", `/v1/assets/${asset.id}/captions/${encodeURIComponent(language)}`);
    } catch (problem) {
      setError(problem);
    }
    await renew();
  };
  const list = asset.captions ?? [];
  return (
    <div className="stack">
      {error !== null && <Failure error={error} />}
      {list.length === 0 && <p className="quiet">No captions yet. WebVTT and SubRip files are taken, one a language.</p>}
      <ul className="stack tight">
        {list.map(({ language, label }) => (
          <li className="row between" key={language}>
            <span>{label} <span className="quiet mono">{language}</span></span>
            <button type="button" className="button small" aria-label={`Remove the captions in ${label}`} onClick={() => void remove(language)}>Remove</button>
          </li>
        ))}
      </ul>
      <form className="row wrap" onSubmit={(event) => void add(event)}>
        <input className="input" style={{ width: 110 }} name="language" aria-label="Language, such as en" placeholder="en" required maxLength={35} />
        <input className="input" style={{ width: 170 }} name="label" aria-label="Name of the language" placeholder="English" maxLength={80} />
        <input className="input grow" name="file" type="file" aria-label="Captions file" accept=".vtt,.srt,text/vtt" required />
        <button type="submit" className="button">Add</button>
      </form>
    </div>
  );
}

function Technical({ asset }: { asset: AssetDetail }) {
  const facts: [string, string | null][] = [
    ["Asset", asset.id],
    ["Upload", asset.upload],
    ["Job", asset.job?.id ?? null],
    ["Object", `${asset.source.bucket}/${asset.source.key}`],
    ["ETag", asset.source.etag],
    ["Stream", asset.playback?.url ?? null],
  ];
  return (
    <div className="stack">
      <dl className="facts">
        <dt>Size</dt>
        <dd>{bytes(asset.source.size)} <span className="quiet numbers">({asset.source.size.toLocaleString("en")} bytes)</span></dd>
        {asset.width !== null && <><dt>Picture</dt><dd>{asset.width} × {asset.height}</dd></>}
        {asset.duration_ms !== null && <><dt>Length</dt><dd>{clock(asset.duration_ms / 1000)}</dd></>}
        {facts.filter(([, value]) => value).flatMap(([name, value]) => [
          <dt key={name}>{name}</dt>,
          <dd key={`${name}-value`} className="row"><span className="mono clip grow" title={value ?? ""}>{value}</span><Copy text={value ?? ""} label={name} /></dd>,
        ])}
      </dl>
      {asset.renditions.length > 0 && (
        <div className="table-scroll" tabIndex={0} role="region" aria-label="Renditions">
          <table className="table">
            <thead><tr><th>Rendition</th><th>Picture</th><th>Codecs</th><th>Bandwidth</th><th>Size</th></tr></thead>
            <tbody>
              {asset.renditions.map((one) => (
                <tr key={one.name}>
                  <td>{one.name}</td>
                  <td>{one.width ? `${one.width} × ${one.height}` : "–"}</td>
                  <td className="mono">{one.codecs ?? "–"}</td>
                  <td>{one.bandwidth ? `${(one.bandwidth / 1e6).toFixed(2)} Mbit/s` : "–"}</td>
                  <td>{one.bytes === null ? "–" : bytes(one.bytes)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <details>
        <summary>What the probe found, as JSON</summary>
        <pre className="json" tabIndex={0}>{JSON.stringify(asset.probe, null, 2)}</pre>
      </details>
    </div>
  );
}
