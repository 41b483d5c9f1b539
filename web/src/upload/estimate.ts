/** What an upload will take and cost, in words for a person; and what the browser knows of a file before it goes up. */

export interface Range {
  low: number;
  likely: number;
  high: number;
}

export interface Estimate {
  cpu_seconds: Range;
  output_bytes: Range;
  micros: Range;
  currency: string;
  measured: boolean;
  assumed: string[];
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
export function words({ micros, currency, assumed }: Estimate, locale?: string): string {
  const most = money(micros.high, currency, locale);
  const likely = money(micros.likely, currency, locale);
  if (most === likely) return `Will cost ${most}`;
  const vague = assumed.length > 0 || micros.high > 3 * micros.low;
  return vague ? `Will cost ${money(micros.low, currency, locale)} to ${most}` : `Will cost about ${likely}`;
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

/** What the browser can tell of a file, without reading all of it. */
export function look(file: File): Promise<Known> {
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
