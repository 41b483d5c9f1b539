/**
 * One deed on many things.
 *
 * Guarantee: each succeeds or fails by itself, and what is said afterwards is what happened to each.
 */
import { said } from "../api/problem";

export interface Outcome<T> {
  done: T[];
  failed: { one: T; error: unknown }[];
}

export async function each<T>(many: readonly T[], deed: (one: T) => Promise<unknown>): Promise<Outcome<T>> {
  const ends = await Promise.allSettled(many.map(deed));
  const outcome: Outcome<T> = { done: [], failed: [] };
  many.forEach((one, index) => {
    const end = ends[index];
    if (end?.status === "rejected") outcome.failed.push({ one, error: end.reason });
    else outcome.done.push(one);
  });
  return outcome;
}

/** What they are called: one by its name, several by their number. */
export function called(many: readonly { name: string }[]): string {
  return many.length === 1 ? `“${many[0]?.name}”` : `${many.length} assets`;
}

/** A sentence on what did not succeed; null: all of it did. `deed`: "deleted", "restored". */
export function shortfall<T extends { name: string }>({ done, failed }: Outcome<T>, deed: string): string | null {
  const [first] = failed;
  if (!first) return null;
  const of = done.length ? ` of ${done.length + failed.length}` : "";
  const what = failed.length === 1 && !of ? called([first.one]) : `${failed.length}${of} assets`;
  return `Not ${deed}: ${what}. ${said(first.error)}`;
}
