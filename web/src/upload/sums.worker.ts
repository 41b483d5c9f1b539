/** SHA-256 off the main thread. One blob after another: a part is read whole, and two would be twice the memory. */
export interface Ask {
  id: number;
  blob: Blob;
}

export type Answer = { id: number; sum: string } | { id: number; error: string };

const scope = self as unknown as DedicatedWorkerGlobalScope;
let last: Promise<void> = Promise.resolve();

async function answer({ id, blob }: Ask): Promise<void> {
  try {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
    scope.postMessage({ id, sum: btoa(String.fromCharCode(...digest)) } satisfies Answer);
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.name : "unreadable" } satisfies Answer);
  }
}

scope.onmessage = ({ data }: MessageEvent<Ask>) => {
  last = last.then(() => answer(data));
};
