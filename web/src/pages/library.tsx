/** What is mine, to administrators what is everybody's: live, searchable, and nothing is deleted without a way back. */
import { useInfiniteQuery, useQueries, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { assets, keys, users } from "../api/calls";
import type { ListedAsset, User } from "../api/types";
import { useConnection } from "../app";
import { called, each, shortfall } from "../parts/bulk";
import { bytes } from "../parts/format";
import { Icon } from "../parts/icon";
import { Tile } from "../parts/tile";
import { toast } from "../parts/toast";
import { Bar, Empty, Failure, Modal, Pill, Time, useRested, useTitle } from "../parts/ui";
import { desk } from "../price-desk";
import { realtime } from "../realtime/client";
import { choose } from "../uploads";

const FILTERS = [
  ["", "All"],
  ["processing", "Processing"],
  ["playable", "Playable"],
  ["ready", "Ready"],
  ["awaiting_approval", "Waiting for review"],
  ["parked", "Waiting for the budget"],
  ["failed", "Failed"],
  ["refused", "Refused"],
  ["deleting", "Deleted"],
] as const;

const ORDERS = [["newest", "Newest first"], ["name", "By name"], ["longest", "Longest first"], ["largest", "Largest first"]] as const;

/** These change by themselves. */
const UNFINISHED = ["uploaded", "awaiting_approval", "parked", "processing", "playable"];
/** So many of others' assets are listened to; a connection has room for a few more. */
const HEARD = 48;
/** Of what others begin nobody tells: it is looked for. */
const LOOK_MS = 12_000;

type View = "grid" | "rows";
const VIEW = "reelfleet-view";

/** How it was looked at last on this device. */
function keptView(): View {
  try {
    return localStorage.getItem(VIEW) === "rows" ? "rows" : "grid";
  } catch {
    return "grid";
  }
}

export async function upload(): Promise<void> {
  await desk.offer(await choose());
}

export function Library({ user }: { user: User }) {
  useTitle("Library");
  const [typed, setTyped] = useState("");
  const [state, setState] = useState("");
  const [sort, setSort] = useState("newest");
  const [owner, setOwner] = useState("");
  const [view, setView] = useState(keptView);
  const [picked, setPicked] = useState<ReadonlySet<string>>(new Set());
  const q = useRested(typed.trim(), 250);
  const filter = { q, state, sort: sort === "newest" ? "" : sort, owner };
  const sees = user.roles.includes("admin");
  const look = (wanted: View): void => {
    setView(wanted);
    try {
      localStorage.setItem(VIEW, wanted);
    } catch {
      // A browser that keeps nothing: it lasts for this page.
    }
  };
  const live = useConnection() === "live";
  const client = useQueryClient();
  const found = useInfiniteQuery({
    queryKey: keys.assets(filter),
    queryFn: ({ pageParam, signal }) => assets.list(filter, pageParam, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    // Without the live connection the list is asked for again and again.
    refetchInterval: !live ? 5_000 : sees && owner === "" ? LOOK_MS : false,
  });
  const list = found.data?.pages.flatMap((page) => page.assets) ?? [];
  const chosen = list.filter(({ id }) => picked.has(id));
  const foreign = list.filter((asset) => asset.owner !== user.id);
  useHear(foreign.filter(({ state }) => UNFINISHED.includes(state)).slice(0, HEARD).map(({ id }) => id));
  const names = useNames(foreign.map((asset) => asset.owner));

  const remove = async (gone: ListedAsset[]): Promise<void> => {
    const outcome = await each(gone, ({ id }) => assets.remove(id));
    await settle(outcome.failed.map(({ one }) => one));
    const short = shortfall(outcome, "deleted");
    if (short) toast(short);
    const { done } = outcome;
    if (done.length) toast(`${called(done)} deleted. It can be restored for a while.`, { label: "Undo", run: () => void restore(done) });
  };

  const restore = async (back: ListedAsset[]): Promise<void> => {
    const outcome = await each(back, ({ id }) => assets.restore(id));
    await settle(outcome.failed.map(({ one }) => one));
    const short = shortfall(outcome, "restored");
    if (short) toast(short);
    const { done } = outcome;
    if (done.length) toast(done.length === 1 ? `${called(done)} is back.` : `${called(done)} are back.`);
  };

  const tag = async (tagged: ListedAsset[], word: string): Promise<void> => {
    const outcome = await each(tagged, (asset) => assets.edit(asset, { tags: [...new Set([...asset.tags, word])] }));
    await settle(outcome.failed.map(({ one }) => one));
    const short = shortfall(outcome, "tagged");
    if (short) toast(short);
    if (outcome.done.length) toast(`${called(outcome.done)} tagged “${word}”.`);
  };

  /** What did not succeed stays selected, to be tried again. */
  const settle = async (left: ListedAsset[]): Promise<void> => {
    setPicked(new Set(left.map(({ id }) => id)));
    await client.invalidateQueries({ queryKey: ["assets"] });
  };

  const pick = (id: string): void => {
    const next = new Set(picked);
    if (!next.delete(id)) next.add(id);
    setPicked(next);
  };

  return (
    <>
      <div className="head">
        <h1>Library</h1>
        <button type="button" className="button primary" onClick={() => void upload()}>
          <Icon name="upload" />
          Upload
        </button>
      </div>
      <div className="tools">
        <div className="search">
          <Icon name="search" />
          <input
            className="input"
            type="search"
            aria-label="Search the library"
            placeholder="Search by name, description or tag"
            value={typed}
            onChange={({ target }) => setTyped(target.value)}
          />
        </div>
        <select className="input" aria-label="Show" value={state} onChange={({ target }) => setState(target.value)}>
          {FILTERS.map(([value, label]) => (
            <option key={value} value={value}>{label}</option>
          ))}
        </select>
        {sees && (
          <select className="input" aria-label="Whose" value={owner} onChange={({ target }) => setOwner(target.value)}>
            <option value="">Everyone’s</option>
            <option value="me">Mine</option>
          </select>
        )}
        <select className="input" aria-label="Sort" value={sort} onChange={({ target }) => setSort(target.value)}>
          {ORDERS.map(([value, label]) => (
            <option key={value} value={value}>{label}</option>
          ))}
        </select>
        <div className="views" role="group" aria-label="View">
          <button type="button" className="button icon-only" aria-label="As a grid" aria-pressed={view === "grid"} onClick={() => look("grid")}>
            <Icon name="library" />
          </button>
          <button type="button" className="button icon-only" aria-label="As a list" aria-pressed={view === "rows"} onClick={() => look("rows")}>
            <Icon name="rows" />
          </button>
        </div>
      </div>
      {chosen.length > 0 && (
        <Bulk
          chosen={chosen}
          deleted={state === "deleting"}
          remove={() => void remove(chosen)}
          restore={() => void restore(chosen)}
          tag={(word) => void tag(chosen, word)}
          clear={() => setPicked(new Set())}
        />
      )}
      {found.error ? <Failure error={found.error} again={() => void found.refetch()} /> : null}
      {found.isPending ? <Skeletons /> : null}
      {found.data && list.length === 0 ? <Nothing filtered={q !== "" || state !== ""} deleted={state === "deleting"} /> : null}
      <ul className={["grid", view === "rows" && "rows", picked.size > 0 && "picking"].filter(Boolean).join(" ")} aria-label="Assets" aria-busy={found.isFetching}>
        {list.map((asset) => (
          <Entry
            key={asset.id}
            asset={asset}
            owner={asset.owner === user.id ? null : names(asset.owner)}
            picked={picked.has(asset.id)}
            pick={() => pick(asset.id)}
            restore={() => void restore([asset])}
          />
        ))}
      </ul>
      {found.hasNextPage && <More next={() => void found.fetchNextPage()} busy={found.isFetchingNextPage} />}
    </>
  );
}

/** Listens to others' assets: of one's own the page hears anyway. */
function useHear(ids: string[]): void {
  const wanted = ids.join(" ");
  useEffect(() => {
    const leave = wanted.split(" ").filter(Boolean).map((id) => realtime.join(`asset:${id}`));
    return () => {
      for (const end of leave) end();
    };
  }, [wanted]);
}

/** What owners are called. Some are no accounts: a bucket's, a program's. */
function useNames(owners: string[]): (owner: string) => string {
  const ids = [...new Set(owners)].filter((id) => id.startsWith("usr_"));
  const found = useQueries({
    queries: ids.map((id) => ({ queryKey: keys.user(id), queryFn: ({ signal }: { signal: AbortSignal }) => users.show(id, signal), staleTime: Infinity })),
  });
  const names = found.flatMap(({ data }): [string, string][] => (data ? [[data.id, data.name || data.email]] : []));
  const known = new Map([["bucket", "From the bucket"], ...names]);
  return (owner) => known.get(owner) ?? (owner.startsWith("usr_") ? "Somebody else" : owner);
}

function Entry({
  asset, owner, picked, pick, restore,
}: { asset: ListedAsset; owner: string | null; picked: boolean; pick: () => void; restore: () => void }) {
  const { data: progress = null } = useQuery<number>({ queryKey: keys.progress(asset.id), enabled: false });
  const working = asset.state === "processing" || asset.state === "playable";
  return (
    <li className={picked ? "tile picked" : "tile"} data-state={asset.state}>
      <span className="pick">
        <input type="checkbox" aria-label={`Select ${asset.name}`} checked={picked} onChange={pick} />
      </span>
      <Tile asset={asset} href={`/watch/${asset.id}`} picked={picked}>
        <p className="about">
          <Pill state={asset.state} progress={working ? progress : null} />
          <span>{bytes(asset.source.size)}</span>
          <Time iso={asset.landed_at} />
          {owner !== null && <span className="owner clip" title={owner}><span className="hidden-text">Owner: </span>{owner}</span>}
        </p>
        {working && progress !== null && <Bar percent={progress} label={`Processing of ${asset.name}`} />}
        {asset.reason && <p className="small quiet">{asset.reason.detail ?? asset.reason.code}</p>}
        {asset.state === "deleting" && (
          <button type="button" className="button small" onClick={restore}>
            <Icon name="undo" />
            Restore
          </button>
        )}
      </Tile>
    </li>
  );
}

function Bulk({
  chosen, deleted, remove, restore, tag, clear,
}: {
  chosen: ListedAsset[];
  deleted: boolean;
  remove: () => void;
  restore: () => void;
  tag: (word: string) => void;
  clear: () => void;
}) {
  const [tagging, setTagging] = useState(false);
  return (
    <div className="bulk card" role="group" aria-label="Selected assets">
      <span className="grow">{chosen.length} selected</span>
      {deleted ? (
        <button type="button" className="button small" onClick={restore}>
          <Icon name="undo" />
          Restore
        </button>
      ) : (
        <>
          <button type="button" className="button small" onClick={() => setTagging(true)}>Tag</button>
          <button type="button" className="button small danger" onClick={remove}>
            <Icon name="trash" />
            Delete
          </button>
        </>
      )}
      <button type="button" className="button small plain" onClick={clear}>Clear</button>
      {tagging && <Tagging count={chosen.length} close={() => setTagging(false)} apply={tag} />}
    </div>
  );
}

function Tagging({ count, close, apply }: { count: number; close: () => void; apply: (word: string) => void }) {
  const [word, setWord] = useState("");
  return (
    <Modal title={count === 1 ? "Tag 1 asset" : `Tag ${count} assets`} close={close}>
      <input className="input" aria-label="Tag" value={word} maxLength={50} onChange={({ target }) => setWord(target.value)} />
      <div className="row">
        <button
          type="button"
          className="button primary"
          disabled={!word.trim()}
          onClick={() => {
            close();
            apply(word.trim());
          }}
        >
          Add the tag
        </button>
        <button type="button" className="button plain" onClick={close}>Cancel</button>
      </div>
    </Modal>
  );
}

function Nothing({ filtered, deleted }: { filtered: boolean; deleted: boolean }) {
  if (deleted) return <Empty icon="trash" title="Nothing to restore"><p>What you delete waits here for a while.</p></Empty>;
  if (filtered) return <Empty icon="search" title="Nothing fits"><p>Try fewer words, or another state.</p></Empty>;
  return (
    <Empty icon="film" title="Your library is empty">
      <p>Drop videos, sounds or pictures anywhere on this page. A video plays moments after its upload, while the rest is still being made.</p>
      <button type="button" className="button primary" onClick={() => void upload()}>
        <Icon name="upload" />
        Choose files
      </button>
    </Empty>
  );
}

export function Skeletons() {
  return (
    <div className="grid" role="status" aria-label="Loading">
      {Array.from({ length: 8 }, (_, index) => (
        <div className="tile" key={index}>
          <div className="frame skeleton" />
        </div>
      ))}
    </div>
  );
}

/** The next page, when its button comes into sight or is pressed. */
export function More({ next, busy }: { next: () => void; busy: boolean }) {
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const element = button.current;
    if (!element || busy) return;
    const observer = new IntersectionObserver(([entry]) => {
      if (entry?.isIntersecting) next();
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [busy, next]);
  return (
    <p className="empty">
      <button ref={button} type="button" className="button" disabled={busy} onClick={next}>
        {busy ? "Loading…" : "Show more"}
      </button>
    </p>
  );
}
