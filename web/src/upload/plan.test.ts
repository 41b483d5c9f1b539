import { describe, expect, it } from "vitest";
import { backoff, identity, missing, range, sameFile, Speed } from "./plan";
import { causeOf } from "./transfer";

describe("the plan of an upload", () => {
  it("cuts a file into parts without a gap", () => {
    expect([1, 2, 3].map((n) => range(n, 20, 8))).toEqual([
      { n: 1, from: 0, to: 8 },
      { n: 2, from: 8, to: 16 },
      { n: 3, from: 16, to: 20 },
    ]);
    expect(missing(4, [2, 4])).toEqual([1, 3]);
  });

  it("knows a file again", () => {
    const file = { name: "a: b.mp4", size: 9, lastModified: 5 };
    const [x, y] = ["x".repeat(43) + "=", "y".repeat(43) + "="];
    expect(sameFile(identity(file, x), identity(file, x))).toBe(true);
    expect(sameFile(identity(file, x), identity(file, y))).toBe(false);
    // One side without sums (plain HTTP) goes by name, size and time.
    expect(sameFile(identity(file, x), identity(file, null))).toBe(true);
    // A copy has another time, the same ends.
    expect(sameFile(identity(file, x), identity({ ...file, lastModified: 6 }, x))).toBe(true);
    expect(sameFile(identity(file, x), identity({ ...file, size: 8 }, x))).toBe(false);
    expect(sameFile(identity(file, null), identity({ ...file, size: 8 }, null))).toBe(false);
  });

  it("smooths the speed, and starts anew after a step back", () => {
    const speed = new Speed();
    speed.note(0, 0);
    speed.note(1000, 1000);
    expect(speed.rate).toBe(1000);
    expect(speed.left(5000)).toBe(5);
    speed.note(4000, 2000);
    expect(speed.rate).toBeGreaterThan(1000);
    expect(speed.rate).toBeLessThan(3000);
    const before = speed.rate;
    speed.note(500, 3000);
    expect(speed.rate).toBe(before);
  });

  it("waits with full jitter", () => {
    expect(backoff(0, 1)).toBe(500);
    expect(backoff(9, 1)).toBe(30_000);
    expect(backoff(9, 0)).toBe(0);
  });

  it("reads what storage answers", () => {
    const xml = (code: string): string => `<Error><Code>${code}</Code></Error>`;
    expect(causeOf(403, xml("AccessDenied"))).toBe("link");
    expect(causeOf(400, xml("ExpiredToken"))).toBe("link");
    expect(causeOf(400, xml("BadDigest"))).toBe("bytes");
    expect(causeOf(404, xml("NoSuchUpload"))).toBe("gone");
    expect(causeOf(412, "")).toBe("there");
    expect(causeOf(507, "")).toBe("full");
    expect(causeOf(503, xml("SlowDown"))).toBe("passing");
    expect(causeOf(400, xml("RequestTimeout"))).toBe("passing");
    expect(causeOf(400, xml("InvalidRequest"))).toBe("refused");
  });
});
