/** The uploader of this page, joined to the API, to the browser, and to whoever is signed in. */
import { useSyncExternalStore } from "react";
import { uploads } from "./api/calls";
import { session } from "./api/session";
import { holds } from "./upload/holds";
import type { Given, Item } from "./upload/items";
import { stored } from "./upload/records";
import { Slots } from "./upload/slots";
import { sums } from "./upload/sums";
import { put } from "./upload/transfer";
import { PARALLEL, Uploader } from "./upload/uploader";

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const timer = setTimeout(end, ms);
    // The network is back: there is nothing left to wait for.
    function end(): void {
      clearTimeout(timer);
      removeEventListener("online", end);
      signal.removeEventListener("abort", away);
      resolve();
    }
    function away(): void {
      clearTimeout(timer);
      removeEventListener("online", end);
      reject(signal.reason);
    }
    addEventListener("online", end);
    signal.addEventListener("abort", away, { once: true });
  });
}

export const uploader = new Uploader(
  uploads,
  stored,
  {
    sign: uploads.sign,
    put,
    sum: sums(),
    slots: new Slots(PARALLEL),
    now: Date.now,
    random: Math.random,
    sleep,
  },
  () => (session.state.status === "in" ? session.state.user.id : ""),
  holds(navigator.locks),
);

export function useUploads(): readonly Item[] {
  return useSyncExternalStore(uploader.subscribe, uploader.snapshot);
}

const ACCEPT = "video/*,audio/*,image/*,.mkv,.mxf,.mov,.avi,.ts,.m2ts,.flv";

type Picker = (options: { multiple: boolean }) => Promise<FileSystemFileHandle[]>;

/** Lets a person choose; with handles where the browser gives them, so that a reload needs no second choice. */
export async function choose(multiple = true): Promise<Given[]> {
  const picker = (window as unknown as { showOpenFilePicker?: Picker }).showOpenFilePicker;
  if (picker) {
    try {
      const handles = await picker({ multiple });
      return await Promise.all(handles.map(async (handle) => ({ file: await handle.getFile(), handle })));
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return [];
    }
  }
  return new Promise((resolve) => {
    const input = document.createElement("input");
    input.type = "file";
    input.multiple = multiple;
    input.accept = ACCEPT;
    input.onchange = () => resolve([...(input.files ?? [])].map((file) => ({ file })));
    input.oncancel = () => resolve([]);
    input.click();
  });
}

/** What was dropped; the browser forgets it after the event, so handles are asked for at once. */
export async function dropped(transfer: DataTransfer): Promise<Given[]> {
  type Handing = { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> };
  const entries = [...transfer.items]
    .filter(({ kind }) => kind === "file")
    .map((item) => ({ file: item.getAsFile(), handle: (item as Handing).getAsFileSystemHandle?.() }));
  const given: Given[] = [];
  for (const { file, handle } of entries) {
    const found = await handle?.catch(() => null);
    if (found?.kind === "directory" || !file) continue;
    given.push({ file, handle: (found as FileSystemFileHandle | null | undefined) ?? null });
  }
  return given;
}
