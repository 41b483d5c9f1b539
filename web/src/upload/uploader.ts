/**
 * Uploads of this page: a queue of files, their state, and what survives a reload.
 *
 * Guarantees: nothing here knows a framework or a page; a file goes on where storage has it until, after a pause, a lost network,
 * a reload, or on another device; of all tabs one at a time works on an upload, and no other cancels it; the snapshot is a new
 * object whenever something changed, and only then.
 */
import { Problem, said } from "../api/problem";
import type { Upload } from "../api/types";
import type { Holds } from "./holds";
import { begun, readable, type Given, type Item, type UploadApi, type Work } from "./items";
import { identity, sameFile } from "./plan";
import type { Records } from "./records";
import { Sending, Stopped, type Means } from "./sending";
import { edges, sumOfSums } from "./sums";

/** Parts of one file in flight; all files together share the slots. */
export const PARALLEL = 4;
/** Files that are under way at once, so that many small ones do not wait for each other's answers. */
const FILES = 3;
const TITLE_TRIES = 8;

export class Uploader {
  #works: Work[] = [];
  #snapshot: readonly Item[] = [];
  #listeners = new Set<() => void>();
  #scheduled = false;
  #next = 0;
  /** How often somebody signed out: what began before is over. */
  #era = 0;

  constructor(
    private readonly api: UploadApi,
    private readonly records: Records,
    private readonly means: Means,
    private readonly user: () => string,
    private readonly holds: Holds,
  ) {}

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): readonly Item[] => this.#snapshot;

  /** Whether leaving the page would stop bytes. */
  get moving(): boolean {
    return this.#works.some(({ item }) => ["starting", "sending", "completing"].includes(item.phase));
  }

  /** Takes files; one that belongs to an unfinished upload goes on with it. */
  async add(given: Given[]): Promise<void> {
    for (const { file, handle = null } of given) {
      const fingerprint = await this.#fingerprint(file).catch(() => null);
      const waiting =
        fingerprint && this.#works.find((w) => !w.file && w.fingerprint && sameFile(w.fingerprint, fingerprint));
      if (waiting) {
        this.#supply(waiting, file, handle);
        continue;
      }
      const work = this.#begun({ name: file.name, size: file.size, type: file.type, file });
      Object.assign(work, { handle, fingerprint });
      if (file.size === 0) this.#fail(work, "This file is empty.", false);
      if (!fingerprint) this.#fail(work, "This file can't be read.", false);
      this.#works.push(work);
    }
    this.#changed();
    this.#fill();
  }

  /** Goes on with an unfinished upload. `file`: what the person chose; without it the kept handle is asked. */
  async resume(key: string, chosen: File | null, handle: FileSystemFileHandle | null = null): Promise<void> {
    const work = this.#find(key);
    if (!work) return;
    const file = chosen ?? (await this.#fromHandle(work));
    if (!file) {
      this.#set(work, { handle: false, problem: "Choose the file again to go on." });
      return;
    }
    const fingerprint = await this.#fingerprint(file).catch(() => null);
    if (!fingerprint || (work.fingerprint && !sameFile(work.fingerprint, fingerprint))) {
      this.#set(work, { problem: `That is another file. This upload belongs to “${work.item.name}”.` });
      return;
    }
    this.#supply(work, file, handle ?? work.handle);
    this.#fill();
  }

  pause(key: string): void {
    const work = this.#find(key);
    if (!work || !["queued", "starting", "sending"].includes(work.item.phase)) return;
    this.#set(work, { phase: "paused", waiting: null, rate: null, left: null });
    work.stop?.abort(new DOMException("paused", "AbortError"));
    this.#fill();
  }

  /** After a pause or a failure. */
  go(key: string): void {
    const work = this.#find(key);
    if (!work || !["paused", "failed"].includes(work.item.phase) || !work.file) return;
    this.#set(work, { phase: "queued", problem: null });
    this.#fill();
  }

  /** Throws it away, here and in storage. False: another tab works on it. */
  async cancel(key: string): Promise<boolean> {
    const work = this.#find(key);
    if (!work) return false;
    const { upload, phase } = work.item;
    const there = upload !== null && phase !== "done";
    if (there && !(await this.#held(work, upload))) return false;
    work.stop?.abort(new DOMException("cancelled", "AbortError"));
    this.#works = this.#works.filter((one) => one !== work);
    this.#changed();
    this.#fill();
    if (there) {
      await this.records.forget(upload);
      // An upload that can't be reached now ends by itself in a week.
      await this.api.abort(upload).catch(() => undefined);
    }
    this.#letGo(work);
    return true;
  }

  /** Takes what is done out of sight. */
  clear(): void {
    this.#works = this.#works.filter(({ item }) => item.phase !== "done");
    this.#changed();
  }

  /** Another title, as it is typed. */
  title(key: string, title: string): void {
    const work = this.#find(key);
    if (work) this.#set(work, { title });
  }

  /** The title stands: tell the server. */
  async named(key: string): Promise<void> {
    const work = this.#find(key);
    if (!work) return;
    if (!work.item.title.trim()) this.#set(work, { title: work.named });
    // What is not reserved or just being completed is named on the way.
    if (["sending", "paused", "unfinished"].includes(work.item.phase)) await this.#rename(work).catch(() => undefined);
    if (work.item.phase === "done") await this.#retitle(work).catch(() => undefined);
  }

  /**
   * After a reload, on another device, or when the page is looked at again: what the server says is unfinished. Files whose
   * handle still may be read go on at once, unless another tab has them.
   */
  async restore(): Promise<void> {
    const era = this.#era;
    const [open, kept] = await Promise.all([this.api.open(), this.records.all(this.user())]);
    const ids = new Set(open.map(({ id }) => id));
    if (era !== this.#era) return;
    for (const upload of open) {
      const known = this.#works.find(({ item }) => item.upload === upload.id);
      if (known && known.item.phase !== "unfinished") continue;
      const work = known ?? this.#listed(upload);
      if (!(await this.#held(work, upload.id))) continue;
      await this.#takeUp(work);
      if (era !== this.#era) return this.#letGo(work);
    }
    // The others were finished or aborted elsewhere.
    for (const { upload } of kept) if (!ids.has(upload) && !this.#works.some(({ item }) => item.upload === upload)) await this.records.forget(upload);
    for (const work of this.#works) {
      if (work.item.phase === "unfinished" && work.item.upload && !ids.has(work.item.upload)) await this.#over(work);
    }
  }

  /** Signed out: stops all of it, keeps what may be resumed. */
  leave(): void {
    this.#era++;
    for (const work of this.#works) {
      work.stop?.abort(new DOMException("left", "AbortError"));
      this.#letGo(work);
    }
    this.#works = [];
    this.#changed();
  }

  #begun(about: { name: string; size: number; type: string; file: File | null }): Work {
    const requestKey = Array.from({ length: 4 }, () => Math.floor(this.means.random() * 2 ** 32).toString(36)).join("-");
    return begun(`u${this.#next++}`, requestKey, about);
  }

  /** What the server has of an upload that this page did not begin. */
  #listed(upload: Upload): Work {
    const work = this.#begun({ name: upload.name, size: upload.size, type: upload.type, file: null });
    work.fingerprint = upload.fingerprint;
    this.#works.push(work);
    this.#reserve(work, upload);
    this.#set(work, { phase: "unfinished" });
    return work;
  }

  /** Whether no other tab works on it, and from now on none will; else it is shown so, and taken up when it is let go. */
  async #held(work: Work, upload: string): Promise<boolean> {
    if (work.hold) return true;
    const hold = await this.holds.take(upload);
    if (work.hold || !this.#works.includes(work)) {
      hold?.();
      return work.hold !== null;
    }
    work.hold = hold;
    if (hold) return true;
    if (work.item.phase === "elsewhere") return false;
    this.#set(work, { phase: "elsewhere", problem: null, waiting: null, rate: null, left: null });
    const stop = new AbortController();
    work.stop = stop;
    void this.holds.wait(upload, stop.signal).then(
      (release) => {
        work.hold = release;
        return this.#takeUp(work);
      },
      () => undefined,
    );
    return false;
  }

  /** Goes on with what is held now, if its file can be read; else lets it wait for the file. */
  async #takeUp(work: Work): Promise<void> {
    const { upload, key } = work.item;
    const stop = new AbortController();
    work.stop = stop;
    try {
      if (!upload) return;
      const record = (await this.records.all(this.user())).find((one) => one.upload === upload);
      work.handle ??= record?.handle ?? null;
      work.fingerprint = record?.fingerprint ?? work.fingerprint;
      this.#set(work, { phase: "unfinished", handle: work.handle !== null });
      const now = await this.#patiently(work, stop.signal, () => this.api.show(upload));
      // The person may have chosen the file meanwhile: then it goes on by itself.
      if (work.item.phase !== "unfinished") return;
      if (now.state !== "open") return await this.#over(work);
      this.#reserve(work, now);
      if (work.file) {
        this.#supply(work, work.file, work.handle);
        this.#fill();
      } else if (work.handle && (await readable(work.handle))) {
        await this.resume(key, null);
      }
    } catch (error) {
      if (!stop.signal.aborted && error instanceof Problem && [404, 410].includes(error.status)) return await this.#over(work);
    } finally {
      if (work.stop === stop) work.stop = null;
      if (work.item.phase === "unfinished" || stop.signal.aborted) this.#letGo(work);
    }
  }

  /** Finished or thrown away elsewhere. */
  async #over(work: Work): Promise<void> {
    this.#works = this.#works.filter((one) => one !== work);
    this.#changed();
    if (work.item.upload) await this.records.forget(work.item.upload);
    this.#letGo(work);
  }

  #letGo(work: Work): void {
    work.hold?.();
    work.hold = null;
  }

  /** Starts as many as may be under way. */
  #fill(): void {
    const busy = this.#works.filter(({ item }) => ["starting", "sending", "completing"].includes(item.phase)).length;
    const waiting = this.#works.filter(({ item }) => item.phase === "queued");
    for (const work of waiting.slice(0, Math.max(0, FILES - busy))) void this.#run(work);
  }

  async #run(work: Work): Promise<void> {
    const stop = new AbortController();
    work.stop = stop;
    this.#set(work, { phase: "starting", problem: null });
    try {
      const upload = await this.#reserved(work, stop.signal);
      if (upload.state === "open") await this.#send(work, upload, stop.signal);
      this.#set(work, { phase: "done", sent: work.item.size, rate: null, left: null, waiting: null });
      await this.records.forget(upload.id);
      this.#letGo(work);
      await this.#retitle(work);
    } catch (error) {
      if (!stop.signal.aborted) this.#ended(work, error);
    } finally {
      if (work.stop === stop) work.stop = null;
      work.flying.clear();
      work.speed.forget();
      this.#fill();
    }
  }

  /** The upload as storage has it: reserved now, or asked for again. */
  async #reserved(work: Work, signal: AbortSignal): Promise<Upload> {
    const { file, fingerprint, item } = work;
    if (!file || !fingerprint) throw new Stopped("unreadable", "The file is needed: choose it again.");
    if (item.upload && !(await this.#held(work, item.upload))) throw new Stopped("elsewhere", "Another tab works on it.");
    const upload = await this.#patiently(work, signal, () =>
      item.upload
        ? this.api.show(item.upload)
        : this.api.create(file, fingerprint, this.means.sum !== null, work.requestKey),
    );
    this.#reserve(work, upload);
    // Of a new one another tab may just be looking whether it is free.
    work.hold ??= await this.holds.wait(upload.id, signal);
    if (upload.state === "aborted") throw new Stopped("gone", "This upload was aborted or has expired: begin again.");
    await this.#keep(work);
    return upload;
  }

  #reserve(work: Work, upload: Upload): void {
    const done = upload.done ?? [];
    const last = upload.size - (upload.parts_total - 1) * upload.part_size;
    work.arrived = done.reduce((sum, n) => sum + (n === upload.parts_total ? last : upload.part_size), 0);
    this.#set(work, {
      upload: upload.id,
      asset: upload.asset,
      expiresAt: upload.expires_at,
      estimate: upload.estimate ?? work.item.estimate,
      partsTotal: upload.parts_total,
      partsDone: done.length,
      sent: work.arrived,
    });
  }

  async #send(work: Work, upload: Upload, signal: AbortSignal): Promise<void> {
    if (!work.file) return;
    this.#set(work, { phase: "sending" });
    const length = (n: number): number => Math.min(upload.part_size, upload.size - (n - 1) * upload.part_size);
    const sending = new Sending({ ...this.means, sign: this.api.sign }, upload, work.file, {
      moved: (n, bytes) => {
        work.flying.set(n, Math.min(bytes, length(n)));
        this.#count(work);
      },
      done: (n) => {
        work.flying.delete(n);
        work.arrived += length(n);
        this.#set(work, { partsDone: work.item.partsDone + 1 });
        this.#count(work);
      },
      waiting: (waiting) => {
        if (work.item.waiting !== waiting) this.#set(work, { waiting });
      },
    });
    await sending.run(signal, PARALLEL);
    this.#set(work, { phase: "completing", rate: null, left: null });
    // A name that is not taken is no reason to lose the upload: the asset can be named again.
    await this.#rename(work).catch(() => undefined);
    const all = Array.from({ length: upload.parts_total }, (_, index) => sending.sums.get(index + 1));
    const sum = upload.checksum ? await sumOfSums(all) : null;
    await this.#patiently(work, signal, () => this.api.complete(upload.id, sum));
  }

  #count(work: Work): void {
    let sent = work.arrived;
    for (const bytes of work.flying.values()) sent += bytes;
    work.speed.note(sent, this.means.now());
    this.#set(work, { sent, rate: work.speed.rate, left: work.speed.left(work.item.size - sent) });
  }

  /** A call of the API until it is answered for good. */
  async #patiently<T>(work: Work, signal: AbortSignal, call: () => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      try {
        const answer = await call();
        signal.throwIfAborted();
        if (work.item.waiting) this.#set(work, { waiting: null });
        return answer;
      } catch (error) {
        if (signal.aborted || !(error instanceof Problem) || !error.passing) throw error;
        this.#set(work, { waiting: "Waiting for the server" });
        await this.means.sleep(
          error.retryAfterMs ?? Math.round(this.means.random() * Math.min(30_000, 500 * 2 ** attempt)),
          signal,
        );
      }
    }
  }

  #ended(work: Work, error: unknown): void {
    if (error instanceof Stopped && error.why === "elsewhere") return;
    if (error instanceof Stopped && ["gone", "unreadable"].includes(error.why)) this.#letGo(work);
    if (error instanceof Stopped && error.why === "gone") {
      if (work.item.upload) void this.records.forget(work.item.upload);
      // A new attempt reserves anew.
      work.requestKey += "+";
      work.arrived = 0;
      this.#set(work, { upload: null, asset: null, sent: 0, partsDone: 0 });
    }
    if (error instanceof Stopped && error.why === "unreadable") {
      work.file = null;
      this.#set(work, { phase: "unfinished", file: null, handle: false, problem: error.message, waiting: null, rate: null });
      return;
    }
    const final = error instanceof Problem && ["too_large", "type_not_allowed", "empty", "storage_full", "too_many_today"].includes(error.code);
    this.#fail(work, said(error), !final);
  }

  #fail(work: Work, problem: string, retry: boolean): void {
    this.#set(work, { phase: "failed", problem, retry, waiting: null, rate: null, left: null });
  }

  async #rename(work: Work): Promise<void> {
    const { upload, title } = work.item;
    const name = title.trim();
    if (!upload || !name || name === work.named) return;
    await this.api.rename(upload, name);
    work.named = name;
  }

  /** The asset exists a moment after its bytes have landed. */
  async #retitle(work: Work): Promise<void> {
    const { asset, title } = work.item;
    const name = title.trim();
    if (!asset || !name || name === work.named) return;
    const forever = new AbortController().signal;
    for (let attempt = 0; attempt < TITLE_TRIES; attempt++) {
      try {
        await this.api.retitle(asset, name);
        work.named = name;
        return;
      } catch (error) {
        if (!(error instanceof Problem) || !(error.status === 404 || error.passing)) throw error;
        await this.means.sleep(250 * 2 ** attempt, forever);
      }
    }
  }

  async #keep(work: Work): Promise<void> {
    const { upload, asset, name, size, phase } = work.item;
    if (!upload || !asset || !work.fingerprint || phase === "done") return;
    const { fingerprint, handle } = work;
    await this.records.keep({ upload, user: this.user(), asset, fingerprint, name, size, handle, at: this.means.now() });
  }

  async #fingerprint(file: File): Promise<string> {
    return identity(file, await edges(file, this.means.sum));
  }

  async #fromHandle(work: Work): Promise<File | null> {
    try {
      if (!work.handle || !(await readable(work.handle, true))) return null;
      return await work.handle.getFile();
    } catch {
      return null;
    }
  }

  #supply(work: Work, file: File, handle: FileSystemFileHandle | null): void {
    work.file = file;
    work.handle = handle;
    work.fingerprint ??= identity(file, null);
    // What another tab works on goes on here when that tab lets go of it.
    this.#set(work, { phase: work.item.phase === "elsewhere" ? "elsewhere" : "queued", file, problem: null });
  }

  #find(key: string): Work | undefined {
    return this.#works.find(({ item }) => item.key === key);
  }

  #set(work: Work, change: Partial<Item>): void {
    work.item = { ...work.item, ...change };
    this.#changed();
  }

  /** Many changes of one moment are one for those who look. */
  #changed(): void {
    this.#snapshot = this.#works.map(({ item }) => item);
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

