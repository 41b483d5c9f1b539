/** Small pieces that every page uses. */
import { Component, useEffect, useRef, useState, type ReactNode } from "react";
import { Problem, said } from "../api/problem";
import type { AssetState } from "../api/types";
import { ago, at } from "./format";
import { Icon, type IconName } from "./icon";
import { statusOf } from "./status";

export function Pill({ state, progress = null }: { state: AssetState; progress?: number | null }) {
  const { text, icon, tone, busy } = statusOf(state, progress);
  return (
    <span className={`pill ${tone}`}>
      <Icon name={icon} spin={busy} />
      {text}
    </span>
  );
}

export function Time({ iso }: { iso: string }) {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 60_000);
    return () => clearInterval(timer);
  }, []);
  return (
    <time dateTime={iso} title={at(iso)}>
      {ago(iso)}
    </time>
  );
}

export function Bar({ percent, label }: { percent: number; label: string }) {
  const value = Math.min(100, Math.max(0, percent));
  return (
    // Spoken in steps of ten, so that it does not talk without end.
    <div
      className="bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.floor(value / 10) * 10}
    >
      <i style={{ width: `${value}%` }} />
    </div>
  );
}

export function Note({ tone = "", icon = "info", children }: { tone?: string; icon?: IconName; children: ReactNode }) {
  return (
    <div className={`note ${tone}`} role={tone === "bad" ? "alert" : undefined}>
      <Icon name={icon} />
      <div className="grow">{children}</div>
    </div>
  );
}

export function Failure({ error, again }: { error: unknown; again?: () => void }) {
  return (
    <Note tone="bad" icon="warn">
      <p>{said(error)}</p>
      {error instanceof Problem && error.requestId && <p className="small quiet mono">{error.requestId}</p>}
      {again && (
        <button type="button" className="button small" onClick={again}>
          Try again
        </button>
      )}
    </Note>
  );
}

export function Empty({ icon, title, children }: { icon: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  if (!navigator.clipboard) return null;
  return (
    <button
      type="button"
      className="button small icon-only plain"
      aria-label={copied ? "Copied" : `Copy ${label}`}
      title={copied ? "Copied" : `Copy ${label}`}
      onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true), () => undefined)}
    >
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}

/** The browser's own modal dialog: focus stays inside, Escape closes. */
export function Modal({ title, close, children }: { title: string; close: () => void; children: ReactNode }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    element?.showModal();
    return () => element?.close();
  }, []);
  return (
    <dialog ref={dialog} aria-label={title} onCancel={close} onClose={close}>
      <div className="stack">
        <h2>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

export function Field({
  label, hint, children,
}: { label: string; hint?: ReactNode; children: ReactNode }) {
  return (
    <label className="field">
      <span>{label}</span>
      {children}
      {hint && <span className="small quiet">{hint}</span>}
    </label>
  );
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · reelfleet` : "reelfleet";
  }, [title]);
}

/** A value that follows another once that has rested. */
export function useRested<T>(value: T, ms: number): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setRested(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return rested;
}

/** A page that breaks says so, and leaves the others standing. */
export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: null as unknown };

  static getDerivedStateFromError(error: unknown): { error: unknown } {
    return { error };
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children;
    return (
      <Note tone="bad" icon="warn">
        <p>This page has broken: {said(this.state.error)}</p>
        <button type="button" className="button small" onClick={() => location.reload()}>Load it again</button>
      </Note>
    );
  }
}
