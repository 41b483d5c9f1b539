/** Arithmetic of an upload: parts, waiting times, speed. Pure functions. */

export interface Range {
  n: number;
  from: number;
  to: number;
}

/** The bytes of part `n` (from 1). */
export function range(n: number, size: number, partSize: number): Range {
  const from = (n - 1) * partSize;
  return { n, from, to: Math.min(size, from + partSize) };
}

/** The parts that are still to be sent, in order. */
export function missing(total: number, done: Iterable<number>): number[] {
  const there = new Set(done);
  const list: number[] = [];
  for (let n = 1; n <= total; n++) if (!there.has(n)) list.push(n);
  return list;
}

/** Full jitter: anywhere between nothing and a bound that doubles up to half a minute. */
export function backoff(attempt: number, random: number): number {
  return Math.round(random * Math.min(30_000, 500 * 2 ** Math.min(attempt, 10)));
}

/** What a file is recognised by when it is chosen again. */
export function identity(file: { name: string; size: number; lastModified: number }, ends: string | null): string {
  const base = `${file.name.slice(0, 100)}:${file.size}:${file.lastModified}`;
  return ends ? `${base}:${ends}` : base;
}

/** Whether a chosen file may go on with an upload: the sum of its ends decides where both have it. */
export function sameFile(a: string, b: string): boolean {
  if (a === b) return true;
  const split = (text: string): [string, string | null] => {
    const found = /^(.*:\d+:-?\d+)(?::([A-Za-z0-9+/=]{44}))?$/s.exec(text);
    return found ? [found[1] ?? text, found[2] ?? null] : [text, null];
  };
  const [nameA, endsA] = split(a);
  const [nameB, endsB] = split(b);
  if (endsA && endsB) return endsA === endsB && sizeOf(nameA) === sizeOf(nameB);
  return nameA === nameB;
}

function sizeOf(base: string): string | undefined {
  return base.split(":").at(-2);
}

/** Bytes per second, smoothed, from what has arrived until when. */
export class Speed {
  #at: number | null = null;
  #bytes = 0;
  #rate: number | null = null;

  /** Less than before is a part that begins again: counting goes on from there. */
  note(bytes: number, now: number): void {
    if (this.#at === null || bytes < this.#bytes) {
      this.#at = now;
      this.#bytes = bytes;
      return;
    }
    const elapsed = now - this.#at;
    if (elapsed < 500) return;
    const rate = ((bytes - this.#bytes) * 1000) / elapsed;
    // Half of what is seen is forgotten every three seconds.
    const keep = 0.5 ** (elapsed / 3000);
    this.#rate = this.#rate === null ? rate : this.#rate * keep + rate * (1 - keep);
    this.#at = now;
    this.#bytes = bytes;
  }

  forget(): void {
    this.#at = null;
    this.#rate = null;
  }

  get rate(): number | null {
    return this.#rate;
  }

  /** Seconds that the rest will take. */
  left(bytes: number): number | null {
    return this.#rate && this.#rate > 1 ? bytes / this.#rate : null;
  }
}
