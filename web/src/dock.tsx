/** Uploads, on every page: a zone to drop files on, and a dock that says how they go. */
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "wouter";
import { assets, keys } from "./api/calls";
import { bytes, roughly } from "./parts/format";
import { Icon } from "./parts/icon";
import { Bar, Pill } from "./parts/ui";
import { Price, useOffer } from "./price";
import { toast } from "./parts/toast";
import { desk } from "./price-desk";
import { choose, dropped, uploader, useUploads } from "./uploads";
import { words as priceInWords } from "./upload/estimate";
import type { Item } from "./upload/items";

const MOVING = ["queued", "starting", "sending", "completing"];

export function Dock() {
  const items = useUploads();
  const offer = useOffer();
  const [open, setOpen] = useState(true);
  const moving = items.filter(({ phase }) => MOVING.includes(phase));
  useLeaveGuard(moving.length > 0);
  const size = moving.reduce((sum, item) => sum + item.size, 0);
  const sent = moving.reduce((sum, item) => sum + item.sent, 0);
  const unfinished = items.filter(({ phase }) => phase === "unfinished").length;
  const closed = (): void => {
    uploader.clear();
    desk.dismiss();
  };
  const title = moving.length
    ? `Uploading ${moving.length} ${moving.length === 1 ? "file" : "files"} · ${percent(sent, size)} %`
    : unfinished
      ? `${unfinished} unfinished ${unfinished === 1 ? "upload" : "uploads"}`
      : "Uploads";
  return (
    <>
      <DropZone />
      {(items.length > 0 || offer) && (
        <section className="dock card" aria-label="Uploads">
          <header>
            <h2 className="grow clip">{title}</h2>
            <button
              type="button"
              className="button small icon-only plain"
              aria-expanded={open}
              aria-label={open ? "Minimise" : "Show uploads"}
              onClick={() => setOpen(!open)}
            >
              <Icon name={open ? "down" : "up"} />
            </button>
            {items.every(({ phase }) => phase === "done") && (
              <button type="button" className="button small icon-only plain" aria-label="Close" onClick={closed}>
                <Icon name="close" />
              </button>
            )}
          </header>
          <Price open={open} />
          {open ? (
            <ul>
              {items.map((item) => (
                <Entry key={item.key} item={item} />
              ))}
            </ul>
          ) : (
            moving.length > 0 && <Bar percent={percent(sent, size)} label="All uploads" />
          )}
        </section>
      )}
    </>
  );
}

function percent(sent: number, size: number): number {
  return size ? Math.min(100, Math.floor((sent / size) * 100)) : 0;
}

function Entry({ item }: { item: Item }) {
  const { key, phase } = item;
  const words: Record<Item["phase"], string> = {
    queued: "Waits for its turn",
    starting: "Starting",
    sending: `${bytes(item.sent)} of ${bytes(item.size)}`,
    paused: `Paused at ${percent(item.sent, item.size)} %`,
    completing: "Putting it together",
    done: "Uploaded: it is safe to close this tab",
    failed: "Stopped",
    unfinished: item.handle
      ? `${percent(item.sent, item.size)} % is there. Go on?`
      : `${percent(item.sent, item.size)} % is there. Choose the file again to go on`,
    elsewhere: "Uploading in another tab",
  };
  const again = async (): Promise<void> => {
    if (item.handle) return uploader.resume(key, null);
    const [given] = await choose(false);
    if (given) await uploader.resume(key, given.file, given.handle ?? null);
  };
  const id = `title-${key}`;
  return (
    <li data-phase={phase}>
      <div className="row">
        <label className="hidden-text" htmlFor={id}>Title</label>
        <input
          id={id}
          className="title-input grow"
          value={item.title}
          maxLength={255}
          readOnly={phase === "elsewhere"}
          onChange={({ target }) => uploader.title(key, target.value)}
          onBlur={() => void uploader.named(key)}
          onKeyDown={(event) => event.key === "Enter" && event.currentTarget.blur()}
        />
        {["queued", "starting", "sending"].includes(phase) && (
          <Small icon="pause" label={`Pause ${item.title}`} act={() => uploader.pause(key)} />
        )}
        {(phase === "paused" || (phase === "failed" && item.retry)) && (
          <Small icon="play" label={`Go on with ${item.title}`} act={() => uploader.go(key)} />
        )}
        {!["done", "completing", "elsewhere"].includes(phase) && (
          <Small
            icon="close"
            label={`Cancel ${item.title}`}
            act={() => void uploader.cancel(key).then((gone) => gone && toast(`“${item.title}” was cancelled.`))}
          />
        )}
      </div>
      {phase === "sending" || phase === "paused" || phase === "unfinished" ? (
        <Bar percent={percent(item.sent, item.size)} label={`Upload of ${item.title}`} />
      ) : null}
      <div className="row between small quiet numbers">
        <span aria-live={phase === "done" ? "polite" : "off"}>{item.waiting ?? words[phase]}</span>
        {phase === "sending" && item.rate !== null && !item.waiting && (
          <span>
            {bytes(item.rate)}/s{item.left !== null && ` · ${roughly(item.left)}`}
          </span>
        )}
      </div>
      {item.estimate && phase !== "failed" && <p className="small quiet">{priceInWords(item.estimate)}</p>}
      {item.problem && <p className="small" role="alert">{item.problem}</p>}
      {phase === "unfinished" && (
        <div>
          <button type="button" className="button small" onClick={() => void again()}>
            <Icon name="play" />
            {item.handle ? "Go on" : "Choose the file"}
          </button>
        </div>
      )}
      {phase === "done" && item.asset && <Made id={item.asset} />}
    </li>
  );
}

/** What becomes of it on our side. */
function Made({ id }: { id: string }) {
  const { data } = useQuery({
    queryKey: keys.asset(id),
    queryFn: ({ signal }) => assets.show(id, signal),
    // The asset exists a moment after its bytes have landed.
    retry: 6,
    retryDelay: (attempt) => 300 * 2 ** attempt,
  });
  const { data: live } = useQuery<number>({ queryKey: keys.progress(id), enabled: false });
  if (!data) return <p className="small quiet">Handed over. We go on from here.</p>;
  return (
    <div className="row between">
      <Pill state={data.state} progress={live ?? data.progress} />
      <Link className="small" href={`/watch/${id}`}>
        {data.playback ? "Watch" : "Details"}
      </Link>
    </div>
  );
}

function Small({ icon, label, act }: { icon: "pause" | "play" | "close"; label: string; act: () => void }) {
  return (
    <button type="button" className="button small icon-only plain" aria-label={label} title={label} onClick={act}>
      <Icon name={icon} />
    </button>
  );
}

/** The browser asks before the page goes, only while bytes move. */
function useLeaveGuard(moving: boolean): void {
  useEffect(() => {
    if (!moving) return;
    const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, [moving]);
}

function DropZone() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const files = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent): void => {
      if (files(event) && ++depth === 1) setOver(true);
    };
    const leave = (event: DragEvent): void => {
      if (files(event) && --depth <= 0) {
        depth = 0;
        setOver(false);
      }
    };
    const hold = (event: DragEvent): void => {
      if (files(event)) event.preventDefault();
    };
    const drop = (event: DragEvent): void => {
      depth = 0;
      setOver(false);
      if (!event.dataTransfer || !files(event)) return;
      event.preventDefault();
      void dropped(event.dataTransfer).then((given) => desk.offer(given));
    };
    const listeners = { dragenter: enter, dragleave: leave, dragover: hold, drop } as const;
    for (const [name, listener] of Object.entries(listeners)) addEventListener(name, listener as EventListener);
    return () => {
      for (const [name, listener] of Object.entries(listeners)) removeEventListener(name, listener as EventListener);
    };
  }, []);
  if (!over) return null;
  return (
    <div className="drop-veil">
      <div>
        <Icon name="upload" />
        Drop to upload
      </div>
    </div>
  );
}
