/**
 * Between choosing files and sending them: what they will take and cost.
 *
 * Guarantees: where the tenant has a budget nothing is sent before a person has said so; elsewhere files go up as soon as it is known
 * that there is none. Files whose price nobody can tell go up all the same: what a budget does not hold waits on the other side.
 */
import type { Estimate } from "./estimate";

export interface Priced {
  file: File;
  /** None: it could not be told. */
  estimate: Estimate | null;
}

export interface Offer {
  files: readonly Priced[];
  views: number;
  /** Figures are being asked for. */
  asking: boolean;
  /** Nothing of it is sent before a person says so. */
  waits: boolean;
}

/** Files looked at and priced at once: each is opened by the browser. */
const AT_ONCE = 4;

type Quote = (file: File, views: number) => Promise<Estimate>;

export class Desk<Given extends { file: File }> {
  #offer: Offer | null = null;
  #held: Given[] = [];
  /** Questions that have no answer yet. */
  #asking = 0;
  /** Grows when somebody leaves: what was chosen before is not sent after, as whoever is signed in then. */
  #era = 0;
  #listeners = new Set<() => void>();

  constructor(
    private readonly quote: Quote,
    private readonly begin: (given: Given[]) => Promise<void>,
  ) {}

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): Offer | null => this.#offer;

  /** Files that somebody has chosen. */
  async offer(given: Given[]): Promise<void> {
    if (given.length === 0) return;
    const before = this.#offer;
    const waiting = before?.waits ? before.files : [];
    const files = given.map(({ file }): Priced => ({ file, estimate: null }));
    const views = before?.views ?? 0;
    const era = this.#era;
    this.#show({ files: [...waiting, ...files], views, waits: waiting.length > 0 });
    const priced = await this.#ask(files, views);
    if (era !== this.#era) return;
    if (!this.#offer?.waits && !priced.some(({ estimate }) => estimate?.budget)) return this.begin(given);
    this.#held.push(...given);
    // Others may have been chosen meanwhile: whatever waits is to be seen.
    const shown = this.#offer?.files ?? [];
    const missing = priced.filter(({ file }) => !shown.some((one) => one.file === file));
    this.#show({ files: [...missing, ...shown], views: this.#offer?.views ?? views, waits: true });
  }

  /** How often they will be watched. */
  async views(views: number): Promise<void> {
    const before = this.#offer;
    if (!before || before.views === views) return;
    this.#show({ ...before, views });
    await this.#ask(before.files, views);
  }

  /** A person has seen the price: they go up. */
  async confirm(): Promise<void> {
    const held = this.#held;
    this.#held = [];
    if (this.#offer) this.#show({ ...this.#offer, waits: false });
    await this.begin(held);
  }

  /** Out of sight; what waits is not sent. */
  dismiss(): void {
    this.#held = [];
    this.#show(null);
  }

  /** Whoever chose the files has signed out: nothing of theirs is sent, whatever is answered yet. */
  leave(): void {
    this.#era++;
    this.dismiss();
  }

  async #ask(files: readonly Priced[], views: number): Promise<Priced[]> {
    const one = async ({ file }: Priced): Promise<Priced> => {
      // An empty one costs nothing: the uploader says what is wrong with it.
      const estimate = file.size > 0 ? await this.quote(file, views).catch(() => null) : null;
      return { file, estimate };
    };
    this.#asking++;
    if (this.#offer) this.#show(this.#offer);
    const priced: Priced[] = [];
    const next = files.entries();
    const era = this.#era;
    const some = async (): Promise<void> => {
      // What whoever signed out has chosen is asked for no more.
      for (const [at, file] of next) priced[at] = era === this.#era ? await one(file) : { ...file, estimate: null };
    };
    await Promise.all(Array.from({ length: AT_ONCE }, some));
    this.#asking--;
    const found = new Map(priced.map(({ file, estimate }) => [file, estimate]));
    const now = this.#offer;
    if (now) {
      // Where another number of views was said since, an answer is better than none, and no better than another.
      const better = ({ file, estimate }: Priced): Priced => ({
        file,
        estimate: (now.views === views ? found.get(file) : null) ?? estimate ?? found.get(file) ?? null,
      });
      this.#show({ ...now, files: now.files.map(better) });
    }
    return priced;
  }

  #show(offer: Omit<Offer, "asking"> | null): void {
    this.#offer = offer && { ...offer, asking: this.#asking > 0 };
    for (const listener of this.#listeners) listener();
  }
}
