import "fake-indexeddb/auto";
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Problem } from "../api/problem";
import type { SignedPart, Upload } from "../api/types";
import { holds } from "./holds";
import type { Item, UploadApi } from "./items";
import { Locks } from "./locks.fake";
import { stored, type Records, type Stored } from "./records";
import { Slots } from "./slots";
import { sumOfSums } from "./sums";
import { TransferError, type Cause } from "./transfer";
import { Uploader } from "./uploader";

const PART = 10;
const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("base64");

/** Storage and API in one: what S3 and the gateway would answer. */
class Server {
  uploads = new Map<string, Upload & { bytes: Map<number, Uint8Array> }>();
  titles = new Map<string, string>();
  /** Every PUT that was begun, by part. */
  puts: number[] = [];
  flying = 0;
  most = 0;
  signed: number[][] = [];
  /** Answers of the next PUTs of a part. */
  faults = new Map<number, (Cause | "hang")[]>();
  clock = 0;
  linkLives = 900_000;
  waits: number[] = [];
  keys = new Map<string, string>();
  /** Of the browser, whose tabs share them. */
  locks = new Locks();

  api: UploadApi = {
    create: async (file, fingerprint, sums, key) => {
      const before = this.keys.get(key);
      if (before) return this.shown(before);
      const id = `upl_${this.uploads.size + 1}`;
      this.keys.set(key, id);
      this.uploads.set(id, {
        id,
        asset: `ast_${id}`,
        state: "open",
        mode: "multipart",
        name: file.name,
        size: file.size,
        type: file.type,
        checksum: sums ? "sha256" : null,
        fingerprint,
        part_size: PART,
        parts_total: Math.ceil(file.size / PART),
        created_at: "",
        expires_at: "2030-01-01T00:00:00Z",
        bytes: new Map(),
      });
      return this.shown(id);
    },
    show: async (id) => this.shown(id),
    open: async () => [...this.uploads.keys()].map((id) => this.shown(id)).filter(({ state }) => state === "open"),
    sign: async (id, parts) => {
      this.signed.push(parts.map(({ n }) => n));
      return parts.map(({ n, len, sha256 }) => ({
        n,
        len,
        method: "PUT",
        url: id,
        headers: sha256 ? { "x-amz-checksum-sha256": sha256 } : {},
        expires_at: new Date(this.clock + this.linkLives).toISOString(),
      }));
    },
    complete: async (id, sum) => {
      const upload = this.uploads.get(id)!;
      const bytes = Array.from({ length: upload.parts_total }, (_, index) => upload.bytes.get(index + 1));
      if (bytes.some((part) => !part)) throw new Problem(409, "upload_incomplete", "parts are missing");
      expect(sum).toBe(await sumOfSums(bytes.map((part) => sha(part!))));
      upload.state = "completed";
    },
    abort: async (id) => {
      this.uploads.get(id)!.state = "aborted";
    },
    rename: async (id, name) => {
      this.uploads.get(id)!.name = name;
    },
    retitle: async (asset, name) => {
      this.titles.set(asset, name);
    },
  };

  shown(id: string): Upload {
    const { bytes, ...upload } = this.uploads.get(id)!;
    const parts = [...bytes].map(([n, part]) => ({ n, size: part.length, sha256: sha(part) }));
    return { ...upload, done: parts.map(({ n }) => n), parts };
  }

  put = async (part: SignedPart, body: Blob, moved: (bytes: number) => void, signal: AbortSignal): Promise<void> => {
    this.puts.push(part.n);
    this.most = Math.max(this.most, ++this.flying);
    try {
      await new Promise((resolve) => setTimeout(resolve, 1));
      signal.throwIfAborted();
      moved(body.size / 2);
      const fault = this.faults.get(part.n)?.shift();
      if (fault === "hang") {
        await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      } else if (fault) {
        throw new TransferError(fault, 0, fault);
      }
      const bytes = new Uint8Array(await body.arrayBuffer());
      if (part.headers["x-amz-checksum-sha256"] !== sha(bytes)) throw new TransferError("bytes", 400, "BadDigest");
      this.uploads.get(part.url)!.bytes.set(part.n, bytes);
    } finally {
      this.flying--;
    }
  };

  uploader(records: Records = stored): Uploader {
    return new Uploader(
      this.api,
      records,
      {
        sign: this.api.sign,
        put: (...args) => this.put(...args),
        sum: async (blob) => sha(new Uint8Array(await blob.arrayBuffer())),
        slots: new Slots(4),
        now: () => this.clock,
        random: Math.random,
        sleep: async (ms, signal) => {
          this.waits.push(ms);
          signal.throwIfAborted();
        },
      },
      () => "usr_1",
      holds(this.locks.manager),
    );
  }
}

const file = (size: number, name = "film.mp4"): File =>
  new File([Uint8Array.from({ length: size }, (_, index) => (index * 31 + size) % 251)], name, {
    type: "video/mp4",
    lastModified: 7,
  });

async function until(uploader: Uploader, what: (items: readonly Item[]) => boolean): Promise<readonly Item[]> {
  return vi.waitFor(() => {
    const items = uploader.snapshot();
    if (!what(items)) throw new Error(JSON.stringify(items));
    return items;
  });
}

const phase = (wanted: string) => (items: readonly Item[]) => items.length > 0 && items.every((item) => item.phase === wanted);

describe("the uploader", () => {
  let server: Server;
  beforeEach(() => {
    server = new Server();
  });
  afterEach(async () => {
    for (const record of await stored.all("usr_1")) await stored.forget(record.upload);
  });

  it("sends every part once, four at a time, with its sum, and completes", async () => {
    const uploader = server.uploader();
    await uploader.add([{ file: file(95) }]);
    const [item] = await until(uploader, phase("done"));
    expect(server.puts.toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(server.most).toBe(4);
    expect(server.signed[0]).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(item).toMatchObject({ sent: 95, partsDone: 10, partsTotal: 10, problem: null });
    expect(await stored.all("usr_1")).toEqual([]);
  });

  it("shares its four slots among many files", async () => {
    const uploader = server.uploader();
    await uploader.add([1, 2, 3, 4, 5].map((n) => ({ file: file(40 + n, `${n}.mp4`) })));
    await until(uploader, phase("done"));
    expect(server.most).toBeLessThanOrEqual(4);
    expect(server.puts).toHaveLength(25);
  });

  it("tries again what passes and signs again what has ended", async () => {
    server.faults.set(1, ["passing", "stalled", "passing"]);
    server.faults.set(2, ["link"]);
    server.faults.set(3, ["bytes"]);
    const uploader = server.uploader();
    await uploader.add([{ file: file(35) }]);
    await until(uploader, phase("done"));
    expect(server.puts.filter((n) => n === 1)).toHaveLength(4);
    expect(server.puts.filter((n) => n === 2)).toHaveLength(2);
    expect(server.puts.filter((n) => n === 4)).toHaveLength(1);
    expect(server.waits).toHaveLength(3);
  });

  it("does not begin with a link that is about to end", async () => {
    server.linkLives = 70_000;
    const uploader = server.uploader();
    const put = server.put;
    server.put = async (...args) => {
      await put(...args);
      server.clock += 20_000;
    };
    await uploader.add([{ file: file(80) }]);
    await until(uploader, phase("done"));
    expect(server.signed.length).toBeGreaterThan(2);
    expect(server.puts).toHaveLength(8);
  });

  it("takes an object that is there already as sent", async () => {
    const uploader = server.uploader();
    const put = server.put;
    server.put = async (part, ...rest) => {
      await put(part, ...rest);
      throw new TransferError("there", 412, "");
    };
    await uploader.add([{ file: file(8) }]);
    await until(uploader, phase("done"));
    expect(server.puts).toEqual([1]);
    expect(uploader.moving).toBe(false);
  });

  it("gives up on what is refused again and again, and says so; trying again goes on where it was", async () => {
    server.faults.set(2, ["link", "link", "link", "link"]);
    const uploader = server.uploader();
    await uploader.add([{ file: file(20) }]);
    const [failed] = await until(uploader, phase("failed"));
    expect(failed).toMatchObject({ retry: true });
    expect(failed?.problem).toContain("part 2");
    uploader.go(failed!.key);
    await until(uploader, phase("done"));
    expect(server.puts.filter((n) => n === 1)).toHaveLength(1);
  });

  it("pauses at once, resumes, and sends nothing twice but what was in flight", async () => {
    server.faults.set(5, ["hang"]);
    const uploader = server.uploader();
    await uploader.add([{ file: file(60) }]);
    await until(uploader, ([item]) => item?.partsDone === 5);
    const key = uploader.snapshot()[0]!.key;
    uploader.pause(key);
    expect(uploader.snapshot()[0]).toMatchObject({ phase: "paused" });
    expect(uploader.moving).toBe(false);
    uploader.go(key);
    await until(uploader, phase("done"));
    expect(server.puts.filter((n) => n === 5)).toHaveLength(2);
    expect(server.puts).toHaveLength(7);
  });

  it("goes on after a reload when the same file is chosen, and only then", async () => {
    server.faults.set(3, ["hang"]);
    const before = server.uploader();
    await before.add([{ file: file(50) }]);
    await until(before, ([item]) => item?.partsDone === 4);
    const { key } = before.snapshot()[0]!;
    before.title(key, "My film");
    await before.named(key);
    before.leave();

    const after = server.uploader();
    await after.restore();
    const [item] = await until(after, ([one]) => one?.partsDone === 4);
    expect(item).toMatchObject({ phase: "unfinished", title: "My film", sent: 40 });
    await after.resume(item!.key, file(49));
    expect(after.snapshot()[0]?.problem).toContain("another file");
    // Dropping the same file anywhere is as good as choosing it.
    await after.add([{ file: file(50) }]);
    await until(after, phase("done"));
    expect(after.snapshot()).toHaveLength(1);
    expect(server.puts.filter((n) => n !== 3)).toHaveLength(4);
    expect(server.puts.filter((n) => n === 3)).toHaveLength(2);
    const [done] = after.snapshot();
    after.title(done!.key, "Our film");
    await after.named(done!.key);
    expect(server.titles.get(done!.asset!)).toBe("Our film");
  });

  it("leaves alone what another tab works on, and takes it up when that tab is gone", async () => {
    server.faults.set(3, ["hang"]);
    const first = server.uploader();
    await first.add([{ file: file(50) }]);
    await until(first, ([item]) => item?.partsDone === 4);

    const second = server.uploader();
    await second.restore();
    const [item] = await until(second, phase("elsewhere"));
    expect(second.moving).toBe(false);
    expect(await second.cancel(item!.key)).toBe(false);
    expect(server.shown("upl_1").state).toBe("open");
    // Dropped here too: it is the same upload, and the first tab has it.
    await second.add([{ file: file(50) }]);
    await second.restore();
    expect(second.snapshot()).toMatchObject([{ phase: "elsewhere" }]);
    first.pause(first.snapshot()[0]!.key);
    expect(await second.cancel(item!.key), "what is paused there is paused").toBe(false);
    expect(server.puts).toHaveLength(5);

    first.leave();
    await until(second, phase("done"));
    expect(server.puts.filter((n) => n === 3)).toHaveLength(2);
    expect(server.puts).toHaveLength(6);
    expect(server.uploads.size).toBe(1);
  });

  it("waits for its file, or ends, with what another tab leaves behind", async () => {
    server.faults.set(2, ["hang", "hang"]);
    const [first, second, third] = [server.uploader(), server.uploader(), server.uploader()];
    await first.add([{ file: file(30) }]);
    await until(first, ([item]) => item?.partsDone === 2);
    await second.restore();
    await third.restore();
    first.leave();
    // Each in its turn sees that it is free, and keeps it from nobody.
    await until(second, phase("unfinished"));
    await until(third, phase("unfinished"));
    expect(second.snapshot()).toMatchObject([{ partsDone: 2, sent: 20 }]);
    await second.resume(second.snapshot()[0]!.key, file(30));
    await until(second, phase("sending"));
    await third.restore();
    await until(third, phase("elsewhere"));
    second.pause(second.snapshot()[0]!.key);
    second.go(second.snapshot()[0]!.key);
    await until(second, phase("done"));
    await until(third, (items) => items.length === 0);
  });

  it("goes on by itself from a kept handle, in one tab", async () => {
    const kept = new Map<string, Stored>();
    const records: Records = {
      all: async () => [...kept.values()],
      keep: async (record) => void kept.set(record.upload, record),
      forget: async (upload) => void kept.delete(upload),
    };
    const film = file(50);
    const handle = { getFile: async () => film } as FileSystemFileHandle;
    server.faults.set(3, ["hang"]);
    const before = server.uploader(records);
    await before.add([{ file: film, handle }]);
    await until(before, ([item]) => item?.partsDone === 4);
    before.leave();
    server.faults.set(3, ["hang"]);
    const tabs = [server.uploader(records), server.uploader(records)];
    await Promise.all(tabs.map((tab) => tab.restore()));
    const phases = () => tabs.map((tab) => tab.snapshot()[0]?.phase).toSorted();
    await vi.waitFor(() => expect(phases()).toEqual(["elsewhere", "sending"]));
    expect(server.puts.filter((n) => n === 3)).toHaveLength(2);
    tabs.find((tab) => tab.moving)!.leave();
    await vi.waitFor(() => expect([...server.uploads.values()][0]?.state).toBe("completed"));
    expect(server.puts.filter((n) => n !== 3)).toHaveLength(4);
    expect(kept.size).toBe(0);
  });

  it("forgets what ended elsewhere while nobody looked", async () => {
    server.faults.set(3, ["hang"]);
    const before = server.uploader();
    await before.add([{ file: file(50) }]);
    await until(before, ([item]) => item?.partsDone === 4);
    before.leave();
    const after = server.uploader();
    await after.restore();
    await until(after, phase("unfinished"));
    await server.api.abort("upl_1");
    await after.restore();
    expect(after.snapshot()).toEqual([]);
    expect(await stored.all("usr_1")).toEqual([]);
  });

  it("cancels here and there", async () => {
    server.faults.set(1, ["hang"]);
    const uploader = server.uploader();
    await uploader.add([{ file: file(30) }]);
    await until(uploader, ([item]) => item?.partsDone === 2);
    await uploader.cancel(uploader.snapshot()[0]!.key);
    expect(uploader.snapshot()).toEqual([]);
    expect([...server.uploads.values()][0]?.state).toBe("aborted");
    expect(await stored.all("usr_1")).toEqual([]);
  });

  it("reserves once when the answer is lost", async () => {
    const { create } = server.api;
    let lost = true;
    server.api.create = async (...args) => {
      const upload = await create(...args);
      if (lost) {
        lost = false;
        throw Problem.unreachable();
      }
      return upload;
    };
    const uploader = server.uploader();
    await uploader.add([{ file: file(20) }]);
    await until(uploader, phase("done"));
    expect(server.uploads.size).toBe(1);
  });

  it("begins again when storage has discarded the upload", async () => {
    server.faults.set(1, ["gone"]);
    const uploader = server.uploader();
    await uploader.add([{ file: file(20) }]);
    const [item] = await until(uploader, phase("failed"));
    expect(item).toMatchObject({ upload: null, sent: 0 });
    uploader.go(item!.key);
    await until(uploader, phase("done"));
    expect(server.uploads.size).toBe(2);
  });

  it("refuses an empty file before anything is asked", async () => {
    const uploader = server.uploader();
    await uploader.add([{ file: file(0) }]);
    expect(uploader.snapshot()[0]).toMatchObject({ phase: "failed", retry: false });
    expect(server.uploads.size).toBe(0);
  });
});
