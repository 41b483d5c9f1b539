// A person's whole way through the web app. Arguments: the app's URL, a film of 300 MB, captions, a folder for screenshots.
// The last line of standard output is one JSON object: what was measured, and what was wrong.
import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";
import { MIB, Network, Parts, person } from "./person.mjs";

const [base, film, captions, shots] = process.argv.slice(2);
const began = Date.now();
const step = (name) => console.error(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${name}`);
const browser = await launch();
const ann = await person(browser, base, shots);
const { page } = ann;
const facts = {};
const SPEED = 20 * MIB;

step("before anybody has an account");
await page.goto("/");
await page.getByRole("heading", { name: "Sign in" }).waitFor();
await ann.look("sign-in");
await page.getByRole("link", { name: "Make an account" }).click();
await page.getByRole("heading", { name: "Make an account" }).waitFor();
await ann.look("sign-up");
await page.goto("/forgot");
await page.getByRole("heading", { name: "Forgot the password?" }).waitFor();
await ann.look("forgot");
await page.goto("/reset?token=none");
await page.getByRole("heading", { name: "Set a new password" }).waitFor();
assert.equal(new URL(page.url()).search, "", "the token leaves the address");
await ann.look("reset");

step("signs up");
await ann.signUp("Ann Bell", "ann@example.org", "correct horse battery");
await page.getByText("Your library is empty").waitFor();
await page.getByText("Live", { exact: true }).waitFor();
await ann.look("library-empty");

step("uploads over a slow network that is cut, and through a reload");
const parts = new Parts(page);
const network = await Network.of(ann, SPEED);
await ann.choose(page.getByRole("button", { name: "Upload" }), film);
const entry = page.locator(".dock li");
await entry.and(page.locator('[data-phase="sending"]')).waitFor();
const title = entry.getByLabel("Title");
await title.fill("Autumn by the sea");
await title.blur();
await eventually(() => parts.arrived.length >= 2, "two parts");
await ann.look("uploading");
const cut = await cutting(network);
await eventually(() => parts.arrived.length >= cut.arrived + 2, "two more parts");
const before = { begun: parts.begun.length, arrived: [...parts.arrived] };
step("reloads");
await page.reload();
await page.locator('.dock li[data-phase="unfinished"]').waitFor();
assert.equal(await entry.getByLabel("Title").inputValue(), "Autumn by the sea", "the title was kept");
await ann.look("unfinished");
await ann.choose(entry.getByRole("button", { name: "Choose the file" }), film);
await eventually(() => parts.arrived.length >= before.arrived.length + 2, "and two more");
step("is cut again");
const second = await cutting(network);
await page.locator('.dock li[data-phase="done"]').waitFor();
await entry.getByText("safe to close this tab").waitFor();
const total = new Set(parts.begun).size;
const again = parts.begun.length - total;
facts.parts = { total, begun: parts.begun.length, again };
assert.ok(total >= 30, `a file of many parts: ${total}`);
const stages = [cut.begun, before.begun, second.begun, parts.begun.length];
assert.ok(stages.every((count, at) => at === 0 || stages[at - 1] < count), `it was interrupted three times: ${stages}`);
assert.deepEqual(before.arrived.filter((n) => parts.since(before.begun).includes(n)), [], "what arrived is not sent again");
assert.equal(new Set(parts.arrived).size, parts.arrived.length, "no part arrives twice");
assert.ok(again <= 12, `three times four in flight at most are sent again: ${JSON.stringify(parts.begun)}`);
await (await Network.of(ann, -1)).full();

step("watches it being made, and plays meanwhile");
const tile = page.locator(".tile").filter({ hasText: "Autumn by the sea" });
await tile.waitFor();
const seen = new Set();
const bar = tile.getByRole("progressbar").locator("i");
const stop = setInterval(() => void bar.evaluate((i) => i.style.width, null, { timeout: 200 }).then((w) => seen.add(w), () => undefined), 200);
await page.locator('.tile[data-state="playable"], .tile[data-state="ready"]').waitFor();
await ann.look("library");
await tile.getByRole("link", { name: "Autumn by the sea" }).click();
await page.getByRole("heading", { level: 1, name: "Autumn by the sea" }).waitFor();
await page.getByText("Still being made: playable up to").waitFor();
await ann.look("watch-growing");
await page.getByRole("button", { name: "Play", exact: true }).first().click();
await video((v) => v.at > 1, "it plays");
facts.first = await page.evaluate(() => ({ until: document.querySelector("video").duration }));
await page.locator("#main").getByText("Ready", { exact: true }).waitFor();
clearInterval(stop);
await video((v) => v.duration > facts.first.until + 1, "the stream has grown");
await video((v) => Math.abs(v.duration - 45) < 0.2, "to its end");
assert.ok(seen.size >= 2, `progress moved: ${[...seen]}`);

step("seeks by the storyboard, chooses a quality, turns captions on");
const seek = page.locator(".seek");
const box = await seek.boundingBox();
await seek.hover({ position: { x: box.width * 0.6, y: 9 } });
await page.locator(".seek .peek > i").waitFor();
await ann.look("watch");
await seek.click({ position: { x: box.width * 0.6, y: 9 } });
await video((v) => Math.abs(v.at - 27) < 4, "where the pointer was");
const player = page.getByRole("region", { name: /^Player/ });
const heights = await page.getByLabel("Quality").locator("option").allTextContents();
assert.ok(heights.length >= 3, `Auto and two qualities: ${heights}`);
await page.getByLabel("Quality").selectOption({ index: heights.length - 1 });
await page.locator(`.player[data-level="${parseInt(heights.at(-1), 10)}"]`).waitFor();
await page.getByRole("tab", { name: "Captions" }).click();
await page.getByLabel("Language, such as en").fill("en");
await page.getByLabel("Name of the language").fill("English");
await page.getByLabel("Captions file").setInputFiles(captions);
await page.getByRole("button", { name: "Add" }).click();
await player.getByLabel("Captions").selectOption("en");
await page.waitForFunction(() => [...document.querySelector("video").textTracks].some(({ mode, cues }) => mode === "showing" && cues?.length));
await page.keyboard.press("Escape");
await player.focus();
await page.keyboard.press("c");
assert.equal(await player.getByLabel("Captions").inputValue(), "", "c turns them off");
await page.keyboard.press("0");
await video((v) => v.at < 3, "0 goes to the beginning");
await page.getByRole("tab", { name: "Technical" }).click();
await page.getByRole("columnheader", { name: "Codecs" }).waitFor();
await ann.look("watch-technical");

step("describes it and makes it public; others see that and nothing else");
await page.getByRole("tab", { name: "Details" }).click();
await page.getByLabel("Description").fill("Waves.");
await page.getByLabel("Tags").fill("sea, autumn");
await page.getByRole("button", { name: "Save" }).click();
await page.locator(".prose", { hasText: "Waves." }).waitFor();
const address = page.url();
const bob = await person(browser, base, shots);
await bob.signUp("Bob Stone", "bob@example.org", "staple battery horse");
await bob.page.getByText("Your library is empty").waitFor();
await bob.page.goto(address);
await bob.page.getByText("There is nothing to watch here").waitFor();
await page.getByLabel("Who may watch").selectOption("public");
await page.getByRole("textbox", { name: "Link", exact: true }).waitFor();
await bob.go("Explore");
await bob.page.getByRole("link", { name: "Autumn by the sea" }).click();
await bob.page.getByRole("button", { name: "Play", exact: true }).first().waitFor();
assert.equal(await bob.page.getByRole("button", { name: "Delete" }).count(), 0, "what is not mine I can't delete");
await bob.look("watch-public");
await bob.go("Explore");
await bob.look("explore");
await bob.page.getByRole("link", { name: "Sign out" }).click();
await bob.page.getByRole("heading", { name: "Sign in" }).waitFor();
await bob.page.reload();
await bob.page.getByRole("heading", { name: "Sign in" }).waitFor();
await bob.end();

step("deletes, thinks better of it, deletes for good");
const undo = page.getByRole("button", { name: "Undo" });
await page.getByRole("button", { name: "Delete", exact: true }).click();
await undo.click();
await page.getByText("is back.").waitFor();
await page.locator(".tile").filter({ hasText: "Autumn by the sea" }).waitFor();
await page.getByRole("checkbox", { name: "Select Autumn by the sea" }).check();
await ann.look("library-selected");
await page.getByRole("group", { name: "Selected assets" }).getByRole("button", { name: "Delete" }).click();
await page.getByText("Your library is empty").waitFor();
await page.getByLabel("Show", { exact: true }).selectOption("deleting");
await page.getByRole("button", { name: "Restore" }).waitFor();
await ann.look("library-deleted");
await page.locator(".tile").getByRole("link", { name: "Autumn by the sea" }).click();
await page.getByRole("button", { name: "Delete for good" }).click();
await page.getByRole("dialog").getByRole("button", { name: "Delete for good" }).click();
await page.getByRole("heading", { level: 1, name: "Library" }).waitFor();

step("keys, people, settings");
await ann.go("Keys");
await page.getByRole("button", { name: "New key" }).click();
await page.getByRole("dialog").getByLabel("Name").fill("backup job");
await ann.look("keys-new");
await page.getByRole("button", { name: "Make the key" }).click();
const key = await page.getByRole("textbox", { name: "Key" }).inputValue();
assert.match(key, /^rf_/);
const used = await fetch(`${base}/v1/assets`, { headers: { authorization: `Bearer ${key}` } });
assert.equal(used.status, 200, "the key works");
await page.getByRole("button", { name: "I have it" }).click();
await ann.look("keys");
await page.getByRole("button", { name: "Revoke backup job" }).click();
await page.getByRole("dialog").getByRole("button", { name: "Revoke" }).click();
await page.getByText("is revoked.").waitFor();
await ann.go("Webhooks");
await page.getByText("No webhooks yet").waitFor();
await page.getByRole("button", { name: "New webhook" }).click();
await page.getByRole("dialog").getByLabel("Name").fill("our shop");
await page.getByRole("dialog").getByLabel("URL").fill("https://localhost/hooks");
await ann.look("webhooks-new");
await page.getByRole("button", { name: "Make the webhook" }).click();
await page.getByText("a host of the public internet").waitFor();
await page.getByRole("dialog").getByLabel("URL").fill("https://hooks.example.com/reelfleet");
await page.getByRole("dialog").getByLabel("asset.ready.v1").check();
await page.getByRole("button", { name: "Make the webhook" }).click();
assert.match(await page.getByRole("textbox", { name: "Secret" }).inputValue(), /^whsec_/);
await page.getByRole("button", { name: "I have it" }).click();
await page.getByRole("button", { name: "Send a test" }).click();
await page.getByRole("cell", { name: "webhook.ping.v1" }).waitFor();
await ann.look("webhooks");
await page.getByRole("button", { name: "Delete", exact: true }).click();
await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
await page.getByText("is deleted.").waitFor();
await ann.go("Users");
await page.getByText("bob@example.org").waitFor();
await ann.look("users");
await ann.go("Settings");
await ann.look("settings");
await page.getByLabel("Theme").selectOption("dark");
await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
await page.getByLabel("Theme").selectOption("system");
await ann.go("Review");
await page.getByText("Nothing waits for you").waitFor();
await ann.look("review-empty");
await page.goto("/review/0123456789abcdef");
await page.getByText("This link is not good any more").waitFor();
await ann.look("review-link-over");
// Swagger UI's own pages are not ours to judge; that our policy lets it work is.
await page.goto("/docs");
await page.locator(".opblock").first().waitFor();
ann.wrong.push(...(await page.evaluate(() => window.refused)));
await page.goto("/");
await page.getByRole("heading", { level: 1, name: "Library" }).waitFor();

await ann.end();
await browser.close();
console.log(JSON.stringify({ ...facts, pages: ann.seen.length + bob.seen.length, wrong: [...ann.wrong, ...bob.wrong] }));

/** Cuts the network until the page says so; what had begun and arrived by then. */
async function cutting(network) {
  parts.cut = true;
  await network.set(true);
  await entry.getByText("Waiting for the").waitFor();
  const was = { begun: parts.begun.length, arrived: parts.arrived.length };
  await network.set(false);
  parts.cut = false;
  return was;
}

async function eventually(is, what) {
  let last;
  for (const until = Date.now() + 60_000; Date.now() < until; await page.waitForTimeout(50)) if ((last = await is()) === true) return;
  throw new Error(`never: ${what}: ${JSON.stringify(last)}`);
}

/** Until the video's state is as it should be. */
function video(is, what) {
  return eventually(async () => {
    const state = await page.evaluate(() => {
      const v = document.querySelector("video");
      return { at: v.currentTime, duration: v.duration, ready: v.readyState, paused: v.paused, error: v.error?.message };
    });
    return is(state) || state;
  }, what);
}
