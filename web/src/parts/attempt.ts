/** A deed on a list: what went wrong is kept to be shown, and the list is asked for anew either way. */
import { useQueryClient, type QueryKey } from "@tanstack/react-query";
import { useState } from "react";

export function useAttempt(list: QueryKey): { error: unknown; attempt: (work: () => Promise<void>) => Promise<void> } {
  const client = useQueryClient();
  const [error, setError] = useState<unknown>(null);
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setError(null);
    try {
      await work();
    } catch (problem) {
      setError(problem);
    }
    await client.invalidateQueries({ queryKey: list });
  };
  return { error, attempt };
}
