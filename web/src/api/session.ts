/**
 * Who is signed in.
 *
 * Guarantee: the access token lives in memory alone, never in storage or a URL; of all tabs one at a time refreshes, so that the
 * refresh token, which may be used once, is never used twice; what one tab learns the others learn.
 */
import { Problem } from "./problem";
import type { SessionAnswer, User } from "./types";

export type SessionState =
  | { status: "unknown" }
  | { status: "out" }
  | { status: "unreachable" }
  | { status: "in"; user: User };

type News = { kind: "in"; session: SessionAnswer } | { kind: "out" };

/** A token that ends sooner than this is refreshed before it is used. */
const MARGIN_MS = 30_000;
const LOCK = "reelfleet-session";

export class Session {
  #state: SessionState = { status: "unknown" };
  #token: string | null = null;
  #endsAt = 0;
  #refreshing: Promise<boolean> | null = null;
  #listeners = new Set<() => void>();
  #channel: BroadcastChannel | null = null;

  constructor(
    private readonly fetcher: typeof fetch = (...args) => fetch(...args),
    private readonly now: () => number = Date.now,
  ) {
    if (typeof BroadcastChannel !== "undefined") {
      this.#channel = new BroadcastChannel(LOCK);
      this.#channel.onmessage = ({ data }: MessageEvent<News>) => {
        if (data.kind === "in") this.#adopt(data.session);
        else this.#forget();
      };
    }
  }

  get state(): SessionState {
    return this.#state;
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  snapshot = (): SessionState => this.#state;

  close(): void {
    this.#channel?.close();
  }

  /** A token that is good for a while, or null: signed out. */
  async token(): Promise<string | null> {
    if (this.#token && this.#endsAt - this.now() > MARGIN_MS) return this.#token;
    if (this.#state.status === "out") return null;
    await this.refresh(this.#token);
    return this.#token;
  }

  /** Another token in place of `used`; false: nobody is signed in (any more). Throws when the server can't be asked. */
  refresh(used: string | null): Promise<boolean> {
    this.#refreshing ??= this.#locked(async () => {
      // While this tab waited for its turn another may have done it.
      if (this.#token && this.#token !== used && this.#endsAt - this.now() > MARGIN_MS) return true;
      const response = await this.#post("/v1/auth/refresh");
      if (response.ok) {
        this.#learn((await response.json()) as SessionAnswer);
        return true;
      }
      const problem = await Problem.of(response);
      if (problem.passing) throw problem;
      this.#forget();
      return false;
    }).finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** On load: is somebody signed in? */
  async begin(): Promise<void> {
    try {
      await this.refresh(null);
    } catch {
      this.#become({ status: "unreachable" });
    }
  }

  async signIn(email: string, password: string): Promise<void> {
    await this.#enter("/v1/auth/sign-in", { email, password });
  }

  async signUp(name: string, email: string, password: string, invitation: string | null): Promise<void> {
    await this.#enter("/v1/auth/sign-up", { name, email, password, ...(invitation ? { invitation } : {}) });
  }

  async signOut(): Promise<void> {
    await this.#locked(() => this.#post("/v1/auth/sign-out")).catch(() => undefined);
    this.#channel?.postMessage({ kind: "out" } satisfies News);
    this.#forget();
  }

  /** What the server has said about this user since. */
  update(user: User): void {
    if (this.#state.status === "in") this.#become({ status: "in", user });
  }

  async #enter(path: string, body: object): Promise<void> {
    await this.#locked(async () => {
      const response = await this.#post(path, body);
      if (!response.ok) throw await Problem.of(response);
      this.#learn((await response.json()) as SessionAnswer);
    });
  }

  async #post(path: string, body: object = {}): Promise<Response> {
    try {
      return await this.fetcher(path, {
        method: "POST",
        credentials: "same-origin",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    } catch {
      throw Problem.unreachable();
    }
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    // Web Locks need a secure context; over plain HTTP tabs are told apart by nothing, and the server's reuse check decides.
    const locks = typeof navigator !== "undefined" ? navigator.locks : undefined;
    return locks ? (locks.request(LOCK, work) as Promise<T>) : work();
  }

  #learn(session: SessionAnswer): void {
    this.#channel?.postMessage({ kind: "in", session } satisfies News);
    this.#adopt(session);
  }

  #adopt(session: SessionAnswer): void {
    this.#token = session.access_token;
    this.#endsAt = Date.parse(session.expires_at);
    this.#become({ status: "in", user: session.user });
  }

  #forget(): void {
    this.#token = null;
    this.#endsAt = 0;
    this.#become({ status: "out" });
  }

  #become(state: SessionState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

export const session = new Session();
