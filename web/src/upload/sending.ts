/**
 * The parts of one upload, from a file to storage.
 *
 * Guarantees: a part that storage has is never sent again; links are signed late, a few at a time, and again when they have ended;
 * whatever passes (network, stall, busy server) is tried again for as long as it takes, with full jitter; what does not pass ends
 * it with a reason. A few parts at most are summed and signed before their turn.
 */
import { Problem } from "../api/problem";
import type { SignedPart, Upload } from "../api/types";
import { backoff, missing, range } from "./plan";
import type { Slots } from "./slots";
import type { Sum } from "./sums";
import { TransferError, type Put } from "./transfer";

/** Links that are signed by one call (the API takes up to 16), and bytes that are summed for it. */
const AHEAD = 8;
const AHEAD_BYTES = 64 * 1024 * 1024;
/** A link that ends sooner is not begun with. */
const LINK_MARGIN_MS = 60_000;
/** The same refusal so often in a row is not going to change. */
const REFUSALS = 4;

export interface Means {
  sign(upload: string, parts: { n: number; len: number; sha256?: string }[], signal: AbortSignal): Promise<SignedPart[]>;
  put: Put;
  sum: Sum | null;
  slots: Slots;
  now(): number;
  random(): number;
  /** Ends early when the network comes back. What the browser says of it is a hint: a fleet on this machine needs none. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** An upload that can't go on. */
export class Stopped extends Error {
  constructor(
    readonly why: "unreadable" | "gone" | "full" | "refused" | "insecure" | "elsewhere",
    message: string,
  ) {
    super(message);
  }
}

export interface Watcher {
  /** Bytes of a part that are on their way or there. */
  moved(n: number, bytes: number): void;
  done(n: number): void;
  /** Waiting for something that passes; null: no longer. */
  waiting(why: string | null): void;
}

export class Sending {
  /** Sums of parts, by number; also of those that storage had before. */
  readonly sums = new Map<number, string>();
  readonly #links = new Map<number, SignedPart>();
  #todo: number[];
  readonly #active = new Set<number>();
  #ahead: Promise<void> | null = null;

  constructor(
    private readonly means: Means,
    private readonly upload: Upload,
    private readonly file: Blob,
    private readonly watcher: Watcher,
  ) {
    const there = upload.parts ?? [];
    for (const part of there) if (part.sha256) this.sums.set(part.n, part.sha256);
    this.#todo = missing(upload.parts_total, upload.done ?? []);
  }

  /** Sends all that is missing. Rejects with `Stopped`, or with the signal's reason. */
  async run(signal: AbortSignal, width: number): Promise<void> {
    if (this.upload.checksum && !this.means.sum) {
      throw new Stopped("insecure", "This upload was begun with checksums, which this page can't make: open it over https.");
    }
    const inner = new AbortController();
    const both = AbortSignal.any([signal, inner.signal]);
    const lanes = Array.from({ length: Math.min(width, Math.max(1, this.#todo.length)) }, async () => {
      for (let n = this.#todo.shift(); n !== undefined; n = this.#todo.shift()) await this.#part(n, both);
    });
    try {
      await Promise.all(lanes);
    } catch (error) {
      inner.abort(error);
      await Promise.allSettled(lanes);
      throw error;
    } finally {
      this.watcher.waiting(null);
    }
  }

  async #part(n: number, signal: AbortSignal): Promise<void> {
    this.#active.add(n);
    let refused = 0;
    for (let attempt = 0; ; ) {
      try {
        const link = await this.#link(n, signal);
        const { from, to } = range(n, this.upload.size, this.upload.part_size);
        const body = this.file.slice(from, to);
        await this.means.slots.with(signal, () =>
          this.means.put(link, body, (bytes) => this.watcher.moved(n, bytes), signal),
        );
        return this.#arrived(n);
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        this.watcher.moved(n, 0);
        if (error instanceof TransferError && error.kind === "there") return this.#arrived(n);
        const why = this.#judge(n, error);
        if (why === "passing") {
          this.watcher.waiting("Waiting for the connection");
          await this.means.sleep(backoff(attempt++, this.means.random()), signal);
        } else if (++refused >= REFUSALS) {
          throw new Stopped("refused", `Storage refuses part ${n}: ${error instanceof Error ? error.message : ""}`);
        }
      }
    }
  }

  #arrived(n: number): void {
    this.#active.delete(n);
    this.#links.delete(n);
    this.watcher.waiting(null);
    this.watcher.done(n);
  }

  /** Whether to wait, or to try at once with another link; throws what ends it. */
  #judge(n: number, error: unknown): "passing" | "again" {
    if (error instanceof TransferError) {
      this.#links.delete(n);
      switch (error.kind) {
        case "passing":
        case "stalled":
          return "passing";
        case "link":
          return "again";
        case "bytes":
          this.sums.delete(n);
          return "again";
        case "gone":
          throw new Stopped("gone", "Storage has discarded this upload: begin again.");
        case "full":
          throw new Stopped("full", "The server's storage is full. Try again later.");
        default:
          throw new Stopped("refused", error.message);
      }
    }
    if (error instanceof Problem) {
      if (error.passing) return "passing";
      if (["upload_ended", "upload_expired", "not_found"].includes(error.code)) throw new Stopped("gone", error.message);
      throw new Stopped("refused", error.message);
    }
    throw error instanceof Stopped ? error : new Stopped("unreadable", "The file can't be read any more: choose it again.");
  }

  /** A link that is good for a while. Whoever finds none signs for those that come next as well. */
  async #link(n: number, signal: AbortSignal): Promise<SignedPart> {
    for (;;) {
      const link = this.#links.get(n);
      if (link && Date.parse(link.expires_at) - this.means.now() > LINK_MARGIN_MS) return link;
      this.#ahead ??= this.#sign(this.#batch(n), signal).finally(() => {
        this.#ahead = null;
      });
      await this.#ahead;
    }
  }

  /** This part, those that other lanes wait for, and what comes next. */
  #batch(n: number): number[] {
    const count = Math.min(AHEAD, Math.max(1, Math.floor(AHEAD_BYTES / this.upload.part_size)));
    const others = [...this.#active, ...this.#todo].filter((other) => other !== n && !this.#links.has(other));
    return [n, ...others].slice(0, count);
  }

  async #sign(parts: number[], signal: AbortSignal): Promise<void> {
    const wanted: { n: number; len: number; sha256?: string }[] = [];
    for (const n of parts) {
      const { from, to } = range(n, this.upload.size, this.upload.part_size);
      if (!this.upload.checksum || !this.means.sum) {
        wanted.push({ n, len: to - from });
        continue;
      }
      const sum = this.sums.get(n) ?? (await this.means.sum(this.file.slice(from, to)));
      signal.throwIfAborted();
      this.sums.set(n, sum);
      wanted.push({ n, len: to - from, sha256: sum });
    }
    for (const link of await this.means.sign(this.upload.id, wanted, signal)) this.#links.set(link.n, link);
  }
}
