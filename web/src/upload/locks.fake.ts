/** Web Locks as browsers have them, for tests: one holder of a name at a time, the others in turn. */
type Work = (lock: object | null) => unknown;

export class Locks {
  #queues = new Map<string, (() => void)[]>();

  get manager(): LockManager {
    return this as unknown as LockManager;
  }

  async request(name: string, options: LockOptions, work: Work): Promise<unknown> {
    const queue = this.#queues.get(name) ?? [];
    this.#queues.set(name, queue);
    if (queue.length > 0 && options.ifAvailable) return work(null);
    await new Promise<void>((resolve, reject) => {
      queue.push(resolve);
      if (queue.length === 1) resolve();
      options.signal?.addEventListener("abort", () => {
        // One that holds it already goes on.
        const at = queue.indexOf(resolve);
        if (at > 0) queue.splice(at, 1);
        if (at > 0) reject(options.signal?.reason);
      });
    });
    try {
      return await work({});
    } finally {
      queue.shift();
      queue[0]?.();
    }
  }
}
