/**
 * One PUT of a part, straight to storage.
 *
 * Guarantee: it ends. As long as bytes move it may take as long as it needs; when none has moved for half a minute it is given up.
 */
import type { SignedPart } from "../api/types";

export type Cause =
  /** No answer, or one that may be another next time. */
  | "passing"
  /** No byte moved. */
  | "stalled"
  /** The link has ended: sign again. */
  | "link"
  /** What arrived is not what was signed: read and sum again. */
  | "bytes"
  /** The object is there already: an earlier PUT got through and its answer was lost. */
  | "there"
  /** The multipart upload is gone. */
  | "gone"
  /** Storage is full. */
  | "full"
  /** Trying again changes nothing. */
  | "refused";

export class TransferError extends Error {
  constructor(
    readonly kind: Cause,
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export type Put = (part: SignedPart, body: Blob, moved: (bytes: number) => void, signal: AbortSignal) => Promise<void>;

const STALL_MS = 30_000;

/** What an answer other than success means for the part. */
export function causeOf(status: number, body: string): Cause {
  const code = /<Code>([^<]*)<\/Code>/.exec(body)?.[1] ?? "";
  if (status === 403 || code === "ExpiredToken" || code === "RequestTimeTooSkewed") return "link";
  if (status === 412) return "there";
  if (code === "NoSuchUpload" || (status === 404 && code !== "NoSuchBucket")) return "gone";
  if (status === 507) return "full";
  if (/Digest|Checksum|ContentSHA256Mismatch|IncompleteBody/.test(code)) return "bytes";
  if (status === 0 || status === 408 || status === 429 || status >= 500 || code === "RequestTimeout") return "passing";
  return "refused";
}

export const put: Put = (part, body, moved, signal) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    let watch: ReturnType<typeof setTimeout> | undefined;
    const end = (act: () => void): void => {
      clearTimeout(watch);
      signal.removeEventListener("abort", away);
      act();
    };
    const fail = (cause: Cause, message: string): void =>
      end(() => reject(new TransferError(cause, request.status, message)));
    const rewind = (): void => {
      clearTimeout(watch);
      watch = setTimeout(() => {
        request.onabort = null;
        request.abort();
        fail("stalled", "no byte moved for 30 seconds");
      }, STALL_MS);
    };
    const away = (): void => {
      request.onabort = null;
      request.abort();
      end(() => reject(signal.reason));
    };
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    signal.addEventListener("abort", away, { once: true });
    request.open(part.method, part.url);
    for (const [name, value] of Object.entries(part.headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => {
      rewind();
      moved(loaded);
    };
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) end(resolve);
      else fail(causeOf(request.status, request.responseText), `storage answered ${request.status}`);
    };
    request.onerror = () => fail("passing", "the connection broke");
    request.onabort = () => fail("passing", "the connection was closed");
    rewind();
    request.send(body);
  });
