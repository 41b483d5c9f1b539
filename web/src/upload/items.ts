/** One upload as pages see it, and what is held beside it to go on with it. */
import type { Upload } from "../api/types";
import type { Estimate } from "./estimate";
import type { Release } from "./holds";
import { Speed } from "./plan";
import type { Means } from "./sending";

export type Phase =
  | "queued"
  | "starting"
  | "sending"
  | "paused"
  | "completing"
  | "done"
  | "failed"
  /** Known from before a reload or from another device; the file is needed. */
  | "unfinished"
  /** Another tab of this browser works on it. */
  | "elsewhere";

export interface Item {
  key: string;
  phase: Phase;
  name: string;
  title: string;
  size: number;
  type: string;
  sent: number;
  partsDone: number;
  partsTotal: number;
  /** Bytes per second. */
  rate: number | null;
  /** Seconds. */
  left: number | null;
  waiting: string | null;
  problem: string | null;
  /** Whether trying again may help. */
  retry: boolean;
  upload: string | null;
  asset: string | null;
  expiresAt: string | null;
  /** What it will take and cost, once it is reserved. */
  estimate: Estimate | null;
  /** The browser kept the file's handle: one click goes on. */
  handle: boolean;
  file: File | null;
}

export interface UploadApi extends Omit<Means, "put" | "sum" | "slots" | "now" | "random" | "sleep"> {
  create(file: File, fingerprint: string, sums: boolean, key: string): Promise<Upload>;
  show(id: string): Promise<Upload>;
  open(): Promise<Upload[]>;
  complete(id: string, sum: string | null): Promise<void>;
  abort(id: string): Promise<void>;
  /** Names what is being uploaded; its asset will have the name. */
  rename(id: string, name: string): Promise<void>;
  /** Names the asset. */
  retitle(asset: string, name: string): Promise<void>;
}

export interface Work {
  item: Item;
  file: File | null;
  handle: FileSystemFileHandle | null;
  fingerprint: string | null;
  /** Of the request that reserves the upload, so that a lost answer makes no second one. */
  requestKey: string;
  flying: Map<number, number>;
  arrived: number;
  speed: Speed;
  stop: AbortController | null;
  /** The name that the server has. */
  named: string;
  /** Lets go of the upload, which no other tab may touch meanwhile. */
  hold: Release | null;
}

export type Given = { file: File; handle?: FileSystemFileHandle | null };

/** A new one. `requestKey`: see `Work`. */
export function begun(
  key: string,
  requestKey: string,
  about: { name: string; size: number; type: string; file: File | null },
): Work {
  const item: Item = {
    key,
    phase: "queued",
    title: about.name,
    sent: 0,
    partsDone: 0,
    partsTotal: 0,
    rate: null,
    left: null,
    waiting: null,
    problem: null,
    retry: false,
    upload: null,
    asset: null,
    expiresAt: null,
    estimate: null,
    handle: false,
    ...about,
  };
  return {
    item,
    file: about.file,
    handle: null,
    fingerprint: null,
    requestKey,
    flying: new Map(),
    arrived: 0,
    speed: new Speed(),
    stop: null,
    named: about.name,
    hold: null,
  };
}

/** Whether a kept handle may be read; `ask`: with a question to the person, which needs their click. */
export async function readable(handle: FileSystemFileHandle, ask = false): Promise<boolean> {
  type Asking = (options: { mode: "read" }) => Promise<PermissionState>;
  const { queryPermission, requestPermission } = handle as unknown as Record<string, Asking | undefined>;
  const has = await queryPermission?.call(handle, { mode: "read" });
  if (has === undefined || has === "granted") return true;
  return ask && (await requestPermission?.call(handle, { mode: "read" })) === "granted";
}
