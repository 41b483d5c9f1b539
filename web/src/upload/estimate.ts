/** What an upload will take and cost, in words for a person; and what the browser knows of a file before it goes up. */

export interface Range {
  low: number;
  likely: number;
  high: number;
}

export interface Line {
  what: "computing" | "storage" | "requests" | "messages" | "delivery";
  micros: number;
}

export interface Estimate {
  cpu_seconds: Range;
  output_bytes: Range;
  source_bytes: number;
  delivered_bytes: number;
  requests: { puts: number; gets: number };
  micros: Range;
  lines: Line[];
  currency: string;
  measured: boolean;
  assumed: string[];
  /** What the tenant may start today; null: everything. Only where it was asked for by itself. */
  budget?: { micros: number; started_micros: number; fits: boolean } | null;
}

/** Facts of a file, for the estimate; what is left out is assumed. */
export interface Known {
  duration_ms?: number;
  width?: number;
  height?: number;
}

/** Money as people say it: to the cent, and what is less than one as that. */
export function money(micros: number, currency: string, locale?: string): string {
  const shown = (amount: number): string => new Intl.NumberFormat(locale, { style: "currency", currency }).format(amount);
  return micros > 0 && micros < 10_000 ? `less than ${shown(0.01)}` : shown(micros / 1e6);
}

/** One line under a file that goes up. */
export function words({ micros, currency, assumed }: Pick<Estimate, "micros" | "currency" | "assumed">, locale?: string): string {
  const most = money(micros.high, currency, locale);
  const likely = money(micros.likely, currency, locale);
  if (most === likely) return `Will cost ${most}`;
  const vague = assumed.length > 0 || micros.high > 3 * micros.low;
  return vague ? `Will cost ${money(micros.low, currency, locale)} to ${most}` : `Will cost about ${likely}`;
}

/** Several of them together. */
export interface Total {
  cpuSeconds: number;
  /** Bytes of sources and of what is made of them. */
  stored: number;
  requests: number;
  delivered: number;
  micros: Range;
  lines: Line[];
  currency: string;
  assumed: string[];
  /** Whether today's budget holds all of it; null: there is none. */
  fits: boolean | null;
}

export function total(estimates: readonly Estimate[]): Total | null {
  const [first] = estimates;
  if (!first) return null;
  const sum = (of: (estimate: Estimate) => number): number => estimates.reduce((all, one) => all + of(one), 0);
  const micros = { low: sum((e) => e.micros.low), likely: sum((e) => e.micros.likely), high: sum((e) => e.micros.high) };
  const of = (what: Line["what"]): number => sum((e) => e.lines.find((line) => line.what === what)?.micros ?? 0);
  const budget = estimates.map((e) => e.budget).find((found) => found);
  return {
    cpuSeconds: sum((e) => e.cpu_seconds.likely),
    stored: sum((e) => e.source_bytes + e.output_bytes.likely),
    requests: sum((e) => e.requests.puts + e.requests.gets),
    delivered: sum((e) => e.delivered_bytes),
    micros,
    lines: first.lines.map(({ what }) => ({ what, micros: of(what) })),
    currency: first.currency,
    assumed: [...new Set(estimates.flatMap((e) => e.assumed))],
    fits: budget ? budget.micros > 0 && budget.started_micros + micros.likely <= budget.micros : null,
  };
}

/** What is worth saying of a media element: streams without an end and pictures without a size are not. */
export function known(media: { duration: number; videoWidth?: number; videoHeight?: number }): Known {
  const { duration, videoWidth = 0, videoHeight = 0 } = media;
  return {
    ...(Number.isFinite(duration) && duration > 0 ? { duration_ms: Math.round(duration * 1000) } : {}),
    ...(videoWidth > 0 && videoHeight > 0 ? { width: videoWidth, height: videoHeight } : {}),
  };
}

/** The browser's decoder reads the file's head; whatever it does not understand within a moment stays unknown. */
const PATIENCE_MS = 2_000;

const looks = new WeakMap<File, Promise<Known>>();

/** What the browser can tell of a file, without reading all of it; each is looked at once. */
export function look(file: File): Promise<Known> {
  const found = looks.get(file) ?? lookNow(file);
  looks.set(file, found);
  return found;
}

function lookNow(file: File): Promise<Known> {
  if (typeof document === "undefined" || !/^(video|audio)\//.test(file.type)) return Promise.resolve({});
  const media = document.createElement("video");
  const url = URL.createObjectURL(file);
  return new Promise<Known>((resolve) => {
    const timer = setTimeout(() => end({}), PATIENCE_MS);
    function end(found: Known): void {
      clearTimeout(timer);
      media.removeAttribute("src");
      URL.revokeObjectURL(url);
      resolve(found);
    }
    media.preload = "metadata";
    media.onloadedmetadata = () => end(known(media));
    media.onerror = () => end({});
    media.src = url;
  });
}
