/** An error of the API: Problem Details (RFC 9457), or the reason why there was no answer. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null = null,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
    this.name = "Problem";
  }

  /** Nothing was answered: the network, or a server that is away. */
  static unreachable(): Problem {
    return new Problem(0, "unreachable", "The server can't be reached. Check the connection; this tries again.");
  }

  static async of(response: Response): Promise<Problem> {
    const said: unknown = await response.json().catch(() => null);
    const text = (name: string): string | null => {
      const value = said && typeof said === "object" ? (said as Record<string, unknown>)[name] : null;
      return typeof value === "string" && value !== "" ? value : null;
    };
    const title = text("title");
    const detail = text("detail");
    const message = [title, detail].filter(Boolean).join(": ") || `The server answered ${response.status}.`;
    const seconds = Number(response.headers.get("retry-after"));
    const after = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : null;
    return new Problem(response.status, text("code") ?? "unknown", message, text("request_id"), after);
  }

  /** Whether the same call may succeed later. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** A sentence for a person, whatever was thrown. */
export function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
