/** One letter of a cluster goes back first; the rest follows only if its task ends well. As `reelfleet dlq redrive --canary 1`. */

export interface Sent {
  task: string;
  token: number | null;
}

export interface Redriven {
  redriven: number;
  left: number;
  sent: Sent[];
}

export interface Fate {
  fate: "waits" | "well" | "badly";
  why: string | null;
}

export interface Hands {
  /** Sends so many back, or all. */
  redrive: (limit?: number) => Promise<Redriven>;
  look: (sent: Sent) => Promise<Fate>;
  /** Until the next look; false: nobody waits any more. */
  pause: () => Promise<boolean>;
  /** The first one is on its way, and so many wait for its end. */
  begun: (sent: Sent, left: number) => void;
}

export type Outcome = { end: "sent"; redriven: number } | { end: "badly"; task: string; why: string; left: number } | { end: "left" };

export async function redriveByCanary({ redrive, look, pause, begun }: Hands): Promise<Outcome> {
  const first = await redrive(1);
  const [canary] = first.sent;
  if (canary === undefined) return { end: "sent", redriven: first.redriven };
  begun(canary, first.left);
  for (;;) {
    if (!(await pause())) return { end: "left" };
    const { fate, why } = await look(canary);
    if (fate === "badly") return { end: "badly", task: canary.task, why: why ?? "", left: first.left };
    if (fate === "well") break;
  }
  if (first.left === 0) return { end: "sent", redriven: first.redriven };
  const rest = await redrive();
  return { end: "sent", redriven: first.redriven + rest.redriven };
}
