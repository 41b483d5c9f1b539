import { describe, expect, it } from "vitest";
import { Desk } from "./desk";
import { total, type Estimate } from "./estimate";

const file = (name: string, size = 10): File => ({ name, size, type: "video/mp4" }) as File;
const range = (likely: number) => ({ low: likely / 2, likely, high: likely * 2 });

function estimate(micros: number, views: number, budget: Estimate["budget"] = null): Estimate {
  return {
    cpu_seconds: range(60),
    output_bytes: range(1_000),
    source_bytes: 500,
    delivered_bytes: views * 10,
    requests: { puts: 20, gets: 5 },
    micros: range(micros + views),
    lines: [{ what: "computing", micros }, { what: "delivery", micros: views }],
    currency: "USD",
    measured: true,
    assumed: [],
    budget,
  };
}

/** A desk whose questions are answered when the test says so. */
function desk() {
  const asked: { name: string; views: number; answer: (estimate: Estimate | null) => void }[] = [];
  const begun: string[][] = [];
  const one = new Desk<{ file: File }>(
    ({ name }, views) =>
      new Promise((resolve, reject) => {
        asked.push({ name, views, answer: (found) => (found ? resolve(found) : reject(new Error("no answer"))) });
      }),
    async (given) => void begun.push(given.map(({ file: { name } }) => name)),
  );
  return { one, asked, begun };
}

const BUDGET = { micros: 100, started_micros: 90, fits: false };

describe("the price before files go up", () => {
  it("is shown while they go, where nobody must be asked", async () => {
    const { one, asked, begun } = desk();
    const offered = one.offer([{ file: file("a") }, { file: file("b") }]);
    expect(one.snapshot()).toMatchObject({ asking: true, waits: false });
    expect(begun).toEqual([]);
    asked.forEach(({ answer }, index) => answer(estimate(100 * (index + 1), 0)));
    await offered;
    expect(begun).toEqual([["a", "b"]]);
    expect(one.snapshot()).toMatchObject({ asking: false, waits: false });
    expect(one.snapshot()?.files.map((priced) => priced.estimate?.micros.likely)).toEqual([100, 200]);
  });

  it("is asked about before anything is sent, where there is a budget", async () => {
    const { one, asked, begun } = desk();
    const offered = one.offer([{ file: file("a") }]);
    asked[0]?.answer(estimate(100, 0, BUDGET));
    await offered;
    expect(one.snapshot()).toMatchObject({ waits: true });
    // More of them wait with it, although nobody says so of them.
    const more = one.offer([{ file: file("b") }]);
    asked[1]?.answer(null);
    await more;
    expect(begun).toEqual([]);
    expect(one.snapshot()?.files.map(({ file: { name }, estimate: e }) => [name, e?.micros.likely])).toEqual([["a", 100], ["b", undefined]]);
    await one.confirm();
    expect(begun).toEqual([["a", "b"]]);
    expect(one.snapshot()).toMatchObject({ waits: false });
    await one.confirm();
    expect(begun[1] ?? []).toEqual([]);
  });

  it("sends nothing of what is dismissed", async () => {
    const { one, asked, begun } = desk();
    const offered = one.offer([{ file: file("a") }]);
    asked[0]?.answer(estimate(100, 0, BUDGET));
    await offered;
    one.dismiss();
    expect([one.snapshot(), begun]).toEqual([null, []]);
    await one.confirm();
    expect(begun.flat()).toEqual([]);
  });

  it("sends nothing as somebody else, when the answer comes after whoever chose has left", async () => {
    const { one, asked, begun } = desk();
    const offered = one.offer([{ file: file("a") }]);
    one.leave();
    const next = one.offer([{ file: file("theirs") }]);
    asked[0]?.answer(estimate(100, 0));
    await offered;
    expect(begun).toEqual([]);
    asked[1]?.answer(estimate(100, 0));
    await next;
    expect(begun).toEqual([["theirs"]]);
  });

  it("looks at a few of many files at a time, and at all of them", async () => {
    const { one, asked, begun } = desk();
    const names = Array.from({ length: 9 }, (_, at) => String(at));
    const offered = one.offer(names.map((name) => ({ file: file(name) })));
    for (let at = 0; at < names.length; at++) {
      expect(asked.length).toBe(Math.min(4 + at, names.length));
      asked[at]?.answer(estimate(100, 0));
      await new Promise((resolve) => setTimeout(resolve));
    }
    await offered;
    expect(begun).toEqual([names]);
    expect(one.snapshot()?.files.every(({ estimate: found }) => found !== null)).toBe(true);
  });

  it("holds nobody up where it can't be told", async () => {
    const { one, asked, begun } = desk();
    const offered = one.offer([{ file: file("a") }, { file: file("empty", 0) }]);
    expect(asked.map(({ name }) => name)).toEqual(["a"]);
    asked[0]?.answer(null);
    await offered;
    expect(begun).toEqual([["a", "empty"]]);
  });

  it("follows the number of views, the last one said", async () => {
    const { one, asked } = desk();
    const offered = one.offer([{ file: file("a") }]);
    asked[0]?.answer(estimate(100, 0));
    await offered;
    const first = one.views(1_000);
    const second = one.views(2_000);
    expect(asked.map(({ views }) => views)).toEqual([0, 1_000, 2_000]);
    asked[2]?.answer(estimate(100, 2_000));
    asked[1]?.answer(estimate(100, 1_000));
    await Promise.all([first, second]);
    expect(one.snapshot()).toMatchObject({ views: 2_000, asking: false });
    expect(one.snapshot()?.files[0]?.estimate?.micros.likely).toBe(2_100);
  });
});

describe("several files together", () => {
  it("are the sum of their parts, and say whether the day holds them", () => {
    const [one, two] = [estimate(30, 5, { ...BUDGET, started_micros: 40 }), estimate(40, 5, { ...BUDGET, started_micros: 40 })];
    const all = total([one, two]);
    expect(all).toMatchObject({ cpuSeconds: 120, stored: 3_000, requests: 50, delivered: 100 });
    expect(all?.micros).toEqual({ low: 40, likely: 80, high: 160 });
    expect(all?.lines).toEqual([{ what: "computing", micros: 70 }, { what: "delivery", micros: 10 }]);
    expect(all?.fits, "40 of 100 are taken").toBe(false);
    expect(total([one])?.fits).toBe(true);
    expect(total([estimate(1, 0)])?.fits).toBe(null);
    expect(total([])).toBe(null);
  });
});
