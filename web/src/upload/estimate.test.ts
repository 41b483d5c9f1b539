import { describe, expect, it } from "vitest";
import { known, money, words, type Estimate } from "./estimate";

const range = (low: number, likely: number, high: number) => ({ low, likely, high });

function estimate(micros: Estimate["micros"], assumed: string[] = []): Pick<Estimate, "micros" | "currency" | "assumed"> {
  return { micros, currency: "USD", assumed };
}

describe("the price of an upload", () => {
  it("is said as people say it", () => {
    expect(money(1, "USD", "en")).toBe("less than $0.01");
    expect(money(0, "USD", "en")).toBe("$0.00");
    expect(money(1_234_567, "EUR", "en")).toBe("€1.23");
  });

  it("is one figure where it is known, and a range where much is assumed", () => {
    expect(words(estimate(range(800, 1_000, 1_250)), "en")).toBe("Will cost less than $0.01");
    expect(words(estimate(range(800_000, 1_000_000, 1_250_000)), "en")).toBe("Will cost about $1.00");
    expect(words(estimate(range(250_000, 1_000_000, 4_000_000)), "en")).toBe("Will cost $0.25 to $4.00");
    expect(words(estimate(range(800_000, 1_000_000, 1_250_000), ["it is a video"]), "en")).toBe("Will cost $0.80 to $1.25");
  });

  it("knows what a media element knows", () => {
    expect(known({ duration: 2.5, videoWidth: 640, videoHeight: 360 })).toEqual({ duration_ms: 2500, width: 640, height: 360 });
    expect(known({ duration: Infinity, videoWidth: 0, videoHeight: 0 })).toEqual({});
    expect(known({ duration: Number.NaN })).toEqual({});
  });
});
