import { afterEach, describe, expect, it, vi } from "vitest";
import { api } from "./client";

describe("a call", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("has an answer, or none, whatever its status", async () => {
    const answers = [
      new Response('{"a":1}', { status: 201 }),
      // A mail that is on its way, for one.
      new Response("", { status: 202 }),
      new Response(null, { status: 204 }),
    ];
    vi.stubGlobal("fetch", async () => answers.shift());
    const call = () => api<unknown>("POST", "/v1/auth/password-reset", { body: {}, anonymous: true });
    expect([await call(), await call(), await call()]).toEqual([{ a: 1 }, undefined, undefined]);
  });
});
