import { describe, expect, it } from "vitest";
import { holds } from "./holds";
import { Locks } from "./locks.fake";

describe("a hold on an upload", () => {
  it("is one tab's at a time, and the next one's when it is let go", async () => {
    const locks = new Locks();
    const [one, other] = [holds(locks.manager), holds(locks.manager)];
    const release = await one.take("upl_1");
    expect(release).not.toBeNull();
    expect(await other.take("upl_1")).toBeNull();
    expect(await other.take("upl_2")).not.toBeNull();
    let granted = false;
    const waits = other.wait("upl_1", new AbortController().signal).then((next) => {
      granted = true;
      return next;
    });
    await new Promise((resolve) => setTimeout(resolve));
    expect(granted).toBe(false);
    release?.();
    (await waits)();
    await one.wait("upl_1", new AbortController().signal);
    expect(await other.take("upl_1")).toBeNull();
  });

  it("is not waited for any longer than wanted", async () => {
    const locks = new Locks();
    const release = await holds(locks.manager).take("upl_1");
    const stop = new AbortController();
    const waits = holds(locks.manager).wait("upl_1", stop.signal);
    stop.abort(new Error("left"));
    await expect(waits).rejects.toThrow("left");
    release?.();
    await new Promise((resolve) => setTimeout(resolve));
    expect(await holds(locks.manager).take("upl_1"), "nobody is left in the queue").not.toBeNull();
  });

  it("is everybody's where a page has no locks", async () => {
    const none = holds(undefined);
    expect(await none.take("upl_1")).not.toBeNull();
    expect(await none.take("upl_1")).not.toBeNull();
  });
});
