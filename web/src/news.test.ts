import { expect, test } from "vitest";
import { meant, read } from "./news";
import { embedCode } from "./pages/share";

const event = (type: string, data: Record<string, unknown> = {}) => ({
  position: 1, id: "evt_1", type, asset: "ast_1", name: "a", at: "2026-11-21T20:00:00.000Z", data,
});

test("what is worth a line says why", () => {
  expect(meant(event("asset.failed.v1", { detail: "it is empty" }))?.words).toBe("could not be processed: it is empty");
  expect(meant(event("approval.declined.v1", { reason: "no sound" }))?.words).toBe("was not approved: no sound");
  expect(meant(event("asset.refused.v1", { code: "rejected", detail: "no sound" }))).toBeNull();
  expect(meant(event("job.started.v1"))).toBeNull();
  expect(meant(event("asset.deleting.v1"))?.own).toBe(true);
});

test("what was read stays read", () => {
  const page = (seen: number) => ({ events: [], seen, next_cursor: null });
  const held = { pages: [page(4), page(4)], pageParams: [null, "a"] };
  expect(read(held, 7).pages.map(({ seen }) => seen)).toEqual([7, 7]);
  expect(read(held, 2).pages.map(({ seen }) => seen)).toEqual([4, 4]);
  expect(held.pages[0]?.seen).toBe(4);
});

test("a name in an embed code stays a name", () => {
  Object.assign(globalThis, { location: { origin: "https://reel.example" } });
  const code = embedCode({ id: "ast_1", name: '"><script>', width: 1920, height: 1080, media: "video" });
  expect(code).toContain('src="https://reel.example/embed/ast_1" title="&#34;&#62;&#60;script&#62;" width="640" height="360"');
  expect(code).not.toContain("<script");
});
