import { expect, test } from "vitest";
import { redriveByCanary, type Fate } from "./canary";

/** What is done, in order, where the canary's task is told so. */
async function tried(letters: number, fates: Fate["fate"][], stays = true) {
  const done: string[] = [];
  let left = letters;
  const outcome = await redriveByCanary({
    redrive: async (limit) => {
      const redriven = Math.min(left, limit ?? left);
      left -= redriven;
      done.push(`sent ${redriven}`);
      return { redriven, left, sent: Array.from({ length: redriven }, (_, n) => ({ task: `t${n}`, token: 4 })) };
    },
    look: async (sent) => {
      const fate = fates.shift();
      if (fate === undefined) throw new Error("looked once too often");
      done.push(`${sent.task} ${fate}`);
      return { fate, why: fate === "badly" ? "failed again" : null };
    },
    pause: async () => stays,
    begun: (sent, waiting) => void done.push(`begun ${sent.task}, ${waiting} wait`),
  });
  return { done, outcome };
}

test("the rest follows once the canary has ended well", async () => {
  expect(await tried(5, ["waits", "waits", "well"])).toEqual({
    done: ["sent 1", "begun t0, 4 wait", "t0 waits", "t0 waits", "t0 well", "sent 4"],
    outcome: { end: "sent", redriven: 5 },
  });
  expect((await tried(1, ["well"])).done).toEqual(["sent 1", "begun t0, 0 wait", "t0 well"]);
});

test("the rest stays where the canary fails, or nobody waits for it", async () => {
  expect(await tried(5, ["waits", "badly"])).toEqual({
    done: ["sent 1", "begun t0, 4 wait", "t0 waits", "t0 badly"],
    outcome: { end: "badly", task: "t0", why: "failed again", left: 4 },
  });
  expect(await tried(5, [], false)).toEqual({ done: ["sent 1", "begun t0, 4 wait"], outcome: { end: "left" } });
  expect((await tried(0, [])).outcome).toEqual({ end: "sent", redriven: 0 });
});
