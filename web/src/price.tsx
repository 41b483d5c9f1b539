/** The price of what was chosen: beside the uploads, or as a question before them where there is a budget. */
import { useEffect, useState, useSyncExternalStore } from "react";
import { bytes } from "./parts/format";
import { Field, Modal, Note, useRested } from "./parts/ui";
import { desk } from "./price-desk";
import type { Offer } from "./upload/desk";
import { money, total, words, type Line } from "./upload/estimate";

const MOST_VIEWS = 1_000_000_000_000;
const ASSUMED = 4;

export function useOffer(): Offer | null {
  return useSyncExternalStore(desk.subscribe, desk.snapshot);
}

export function Price({ open }: { open: boolean }) {
  const offer = useOffer();
  if (!offer) return null;
  const count = offer.files.length === 1 ? "This file" : `These ${offer.files.length} files`;
  if (offer.waits) {
    // The dialog closes too when it was answered.
    const leave = (): void => {
      if (desk.snapshot()?.waits) desk.dismiss();
    };
    return (
      <Modal title="Before it goes up" close={leave}>
        <p>{count}: {priceOf(offer)}.</p>
        <Figures offer={offer} />
        <div className="row">
          <button type="button" className="button primary" disabled={offer.asking} onClick={() => void desk.confirm()}>Upload</button>
          <button type="button" className="button plain" onClick={leave}>Not now</button>
        </div>
      </Modal>
    );
  }
  if (!open) return null;
  return (
    <details className="price">
      <summary className="small">{count}: <span aria-live="polite">{priceOf(offer)}</span></summary>
      <Figures offer={offer} />
    </details>
  );
}

function priceOf({ files, asking }: Offer): string {
  const all = total(files.flatMap(({ estimate }) => estimate ?? []));
  if (!all) return asking ? "looking what it costs" : "nobody can tell what it costs";
  const said = words(all).replace(/^Will/, "will");
  const unknown = files.filter(({ estimate, file }) => !estimate && file.size > 0).length;
  return unknown > 0 && !asking ? `${said}, and ${unknown} of which nobody can tell` : said;
}

function Figures({ offer }: { offer: Offer }) {
  const all = total(offer.files.flatMap(({ estimate }) => estimate ?? []));
  return (
    <div className="stack">
      {all && (
        <table className="figures small numbers">
          <tbody>
            <tr><th scope="row">Processor</th><td>{(all.cpuSeconds / 60).toFixed(1)} CPU-minutes</td><td>{part(all, "computing")}</td></tr>
            <tr><th scope="row">Storage</th><td>{bytes(all.stored)}</td><td>{part(all, "storage")}</td></tr>
            <tr><th scope="row">Requests</th><td>{all.requests.toLocaleString()}</td><td>{part(all, "requests", "messages")}</td></tr>
            <tr><th scope="row">Delivery</th><td>{bytes(all.delivered)}</td><td>{part(all, "delivery")}</td></tr>
          </tbody>
        </table>
      )}
      <Views of={offer.views} />
      {all?.fits === false && (
        <Note tone="warn" icon="clock">
          <p className="small">Today's budget does not hold all of it. What does not fit waits until tomorrow, or until an operator raises the budget.</p>
        </Note>
      )}
      {all && all.assumed.length > 0 && <p className="small quiet">Assumed: {all.assumed.slice(0, ASSUMED).join("; ")}.</p>}
    </div>
  );
}

function part({ lines, currency }: { lines: Line[]; currency: string }, ...of: Line["what"][]): string {
  return money(lines.reduce((sum, { what, micros }) => (of.includes(what) ? sum + micros : sum), 0), currency);
}

/** How often it will be watched: asked about once the typing rests. */
function Views({ of }: { of: number }) {
  const [typed, setTyped] = useState(String(of));
  const rested = useRested(typed, 300);
  useEffect(() => {
    const views = Math.floor(Number(rested));
    if (rested.trim() && views >= 0 && views <= MOST_VIEWS) void desk.views(views);
  }, [rested]);
  return (
    <Field label="Views" hint="Each whole, in its largest rendition.">
      <input className="input" type="number" min="0" max={MOST_VIEWS} step="1" value={typed} onChange={({ target }) => setTyped(target.value)} />
    </Field>
  );
}
