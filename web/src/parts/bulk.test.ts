import { describe, expect, it } from "vitest";
import { called, each, shortfall } from "./bulk";

const films = ["a", "b", "c"].map((name) => ({ name }));

describe("a deed on many", () => {
  it("is told apart by what became of each", async () => {
    const outcome = await each(films, async ({ name }) => {
      if (name === "b") throw new Error("It was edited meanwhile.");
    });
    expect(outcome.done).toEqual([{ name: "a" }, { name: "c" }]);
    expect(outcome.failed.map(({ one }) => one.name)).toEqual(["b"]);
    expect(called(outcome.done)).toBe("2 assets");
    expect(shortfall(outcome, "deleted")).toBe("Not deleted: 1 of 3 assets. It was edited meanwhile.");
  });

  it("is no success where nothing succeeded", async () => {
    const outcome = await each(films.slice(0, 1), () => Promise.reject(new Error("Not now.")));
    expect(outcome.done).toEqual([]);
    expect(shortfall(outcome, "tagged")).toBe("Not tagged: “a”. Not now.");
  });

  it("says nothing of failure where there is none", async () => {
    expect(shortfall(await each(films, async () => undefined), "deleted")).toBeNull();
    expect(called(films.slice(0, 1))).toBe("“a”");
  });
});
