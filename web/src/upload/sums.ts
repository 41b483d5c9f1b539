/** SHA-256 of what is sent, where the page may use it: over https or from this machine. */
import type { Answer, Ask } from "./sums.worker";

/** Base64 of the SHA-256 of a blob. Rejects when its file can't be read (any more). */
export type Sum = (blob: Blob) => Promise<string>;

const EDGE = 1024 * 1024;

/** Sums in a Worker; null where the page has no `crypto.subtle`. */
export function sums(): Sum | null {
  if (typeof crypto === "undefined" || !crypto.subtle || typeof Worker === "undefined") return null;
  let worker: Worker | null = null;
  let next = 0;
  const open = new Map<number, { resolve: (sum: string) => void; reject: (error: Error) => void }>();
  const started = (): Worker => {
    if (worker) return worker;
    worker = new Worker(new URL("./sums.worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      const waiting = open.get(data.id);
      open.delete(data.id);
      if ("sum" in data) waiting?.resolve(data.sum);
      else waiting?.reject(new Error(data.error));
    };
    worker.onerror = () => {
      for (const { reject } of open.values()) reject(new Error("the worker for sums did not start"));
      open.clear();
      worker = null;
    };
    return worker;
  };
  return (blob) =>
    new Promise((resolve, reject) => {
      const id = next++;
      open.set(id, { resolve, reject });
      started().postMessage({ id, blob } satisfies Ask);
    });
}

/** The sum of a file's first and last MiB: cheap, and enough to tell two files of one name and size apart. */
export async function edges(file: Blob, sum: Sum | null): Promise<string | null> {
  if (!sum) return null;
  return sum(new Blob([file.slice(0, EDGE), file.slice(Math.max(EDGE, file.size - EDGE))]));
}

/** SHA-256 over the SHA-256 of all parts in order, in base64; null unless every sum is known. */
export async function sumOfSums(parts: (string | null | undefined)[]): Promise<string | null> {
  const bytes: number[] = [];
  for (const part of parts) {
    if (!part) return null;
    for (const character of atob(part)) bytes.push(character.charCodeAt(0));
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(bytes)));
  return btoa(String.fromCharCode(...digest));
}
