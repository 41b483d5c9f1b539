/** Calls of the API as whoever is signed in. A call whose token has ended is made once more with another. */
import { Problem } from "./problem";
import { session } from "./session";

export interface Call {
  body?: unknown;
  /** Bytes as they are. */
  raw?: Blob;
  headers?: Record<string, string>;
  signal?: AbortSignal | null;
  /** Without a session: links that carry their own right. */
  anonymous?: boolean;
}

async function send(method: string, path: string, call: Call, token: string | null): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json", ...call.headers };
  if (call.body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    return await fetch(path, {
      method,
      headers,
      ...(call.raw ? { body: call.raw } : call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      ...(call.signal ? { signal: call.signal } : {}),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw Problem.unreachable();
  }
}

/** The whole response; anything but success throws a Problem. */
export async function request(method: string, path: string, call: Call = {}): Promise<Response> {
  const token = call.anonymous ? null : await session.token();
  let response = await send(method, path, call, token);
  if (response.status === 401 && token && (await session.refresh(token))) {
    response = await send(method, path, call, await session.token());
  }
  if (!response.ok) throw await Problem.of(response);
  return response;
}

/** The JSON of the answer; undefined where it has none, whatever its status. */
export async function api<T>(method: string, path: string, call: Call = {}): Promise<T> {
  const response = await request(method, path, call);
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** A query string of what is set. */
export function query(fields: Record<string, string | number | null | undefined>): string {
  const set = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(set.map(([name, value]) => [name, String(value)])).toString();
  return text ? `?${text}` : "";
}
