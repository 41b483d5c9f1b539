/**
 * Which tab works on an upload.
 *
 * Guarantee: of all tabs of a browser one at a time holds an upload; one that is closed or crashes lets go. Web Locks need a secure
 * context. Over plain HTTP every tab holds what it asks for, but there no tab goes on by itself either: nothing keeps a file there.
 */

export type Release = () => void;

export interface Holds {
  /** At once, or null: another tab has it. */
  take(upload: string): Promise<Release | null>;
  /** As soon as nobody has it. Rejects with the signal's reason. */
  wait(upload: string, signal: AbortSignal): Promise<Release>;
}

const name = (upload: string): string => `reelfleet-upload-${upload}`;

export function holds(locks: LockManager | undefined): Holds {
  if (!locks) return { take: async () => () => undefined, wait: async () => () => undefined };
  /** Resolves when it is decided; the lock itself is held until the answer is called. */
  const ask = (upload: string, options: LockOptions): Promise<Release | null> =>
    new Promise((resolve, reject) => {
      const held = locks.request(name(upload), options, (lock) => {
        if (!lock) return resolve(null);
        return new Promise<void>((release) => resolve(release));
      });
      held.catch(reject);
    });
  return {
    take: (upload) => ask(upload, { ifAvailable: true }),
    wait: async (upload, signal) => {
      const release = (await ask(upload, { signal })) ?? (() => undefined);
      if (!signal.aborted) return release;
      release();
      throw signal.reason;
    },
  };
}
