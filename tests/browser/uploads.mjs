// An upload's whole life in a browser that hands out file handles: tabs, a reload, another device, dropped files, a server that
// stalls. Arguments: the app's URL, a folder for files, a folder for screenshots.
// The last line of standard output is one JSON object: what was seen, and what was wrong.
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { launch } from "./chromium.mjs";
import { MIB, Network, Parts, person } from "./person.mjs";

const [base, folder, shots] = process.argv.slice(2);
const NAME = "harbour.mp4";
const SIZE = 160;
const browser = await launch();
const ann = await person(browser, base, shots, NAME);
const entry = ({ page }, phase) => page.locator(phase ? `.dock li[data-phase="${phase}"]` : ".dock li");
const button = ({ page }, name) => page.locator(".dock").getByRole("button", { name });

// Begins, by the handle of a file; says how fast it is and how long it takes; pauses and goes on by its buttons.
await ann.signUp("Ann Bell", "ann@example.org", "correct horse battery");
await ann.page.evaluate(async ({ name, size, mib }) => {
  const root = await navigator.storage.getDirectory();
  const out = await (await root.getFileHandle(name, { create: true })).createWritable();
  for (let n = 0; n < size; n++) await out.write(new Uint8Array(mib).fill(n));
  await out.close();
}, { name: NAME, size: SIZE, mib: MIB });
const first = new Parts(ann.page);
await Network.of(ann, 32 * MIB);
await ann.page.getByRole("button", { name: "Upload" }).click();
await entry(ann, "sending").waitFor();
await entry(ann).getByText(/^\d[\d.]* MB\/s · (a few seconds|about \d+ (seconds|minutes?))$/).waitFor();
await first.until(2);
await button(ann, `Pause ${NAME}`).click();
await entry(ann, "paused").getByText(/^Paused at \d+ %$/).waitFor();
const paused = first.begun.length;

// Another tab leaves it alone, also while it is paused.
const beside = await ann.tab();
const others = new Parts(beside.page);
await entry(beside, "elsewhere").getByText("Uploading in another tab").waitFor();
assert.equal(await button(beside, /Cancel|Go on|Choose/).count(), 0, "nothing to do about it here");
await beside.look("uploading-elsewhere");
assert.equal(first.begun.length, paused, "what is paused sends nothing");
await button(ann, `Go on with ${NAME}`).click();
await first.until(first.arrived.length + 2);
await entry(beside, "elsewhere").waitFor();
assert.deepEqual(others.begun, [], "the other tab sends nothing");

// The first tab is closed: the other one takes it up, and after a reload too one click goes on, with nothing to choose.
await ann.page.close();
await entry(beside, "unfinished").getByRole("button", { name: "Go on" }).waitFor();
await beside.page.reload();
await entry(beside, "unfinished").getByText(/^\d+ % is there\. Go on\?$/).waitFor();
await Network.of(beside, 32 * MIB);
await entry(beside).getByRole("button", { name: "Go on" }).click();
await entry(beside, "sending").waitFor();
await others.until(2);
assert.equal(await beside.page.evaluate(() => window.picked ?? 0), 0, "nobody was asked for the file");
assert.deepEqual(repeated(first.arrived, others.begun), [], "what arrived is not sent again");
// As when the machine dies.
await beside.end();

// Another device knows of it and has the file too.
const there = await person(browser, base, shots);
const copy = join(folder, NAME);
await writeFile(copy, Buffer.concat(Array.from({ length: SIZE }, (_, n) => Buffer.alloc(MIB, n))));
await there.page.goto("/");
await there.signIn("ann@example.org", "correct horse battery");
await there.page.locator(".dock").getByRole("heading", { name: "1 unfinished upload" }).waitFor();
await entry(there, "unfinished").getByText("Choose the file again to go on").waitFor();
await there.look("unfinished-elsewhere");
const device = new Parts(there.page);
await there.choose(entry(there).getByRole("button", { name: "Choose the file" }), copy);
await entry(there, "done").getByText("safe to close this tab").waitFor();
const before = [...first.arrived, ...others.arrived];
assert.deepEqual(repeated(before, device.begun), [], "nor from here");
// A part that was on its way as its tab ended may have arrived without anybody being told.
const sent = [...first.begun, ...others.begun, ...device.arrived];
assert.equal(new Set(sent).size, SIZE / 8, "all of it is there");
await there.page.locator(".dock").getByRole("button", { name: "Close" }).click();

// It was no film: the library and its page say so.
const refused = there.tile(NAME).and(there.page.locator('[data-state="refused"]'));
await refused.waitFor();
await there.look("library-refused");
await refused.getByRole("link", { name: NAME }).click();
await there.page.getByRole("heading", { level: 1, name: NAME }).waitFor();
await there.page.locator(".stages .wrong").waitFor();
await there.look("watch-refused");
await there.go("Library");

// Files are dropped anywhere on the page.
const files = await there.page.evaluateHandle((mib) => {
  const transfer = new DataTransfer();
  for (const [name, size] of [["one.mp4", 1], ["two.mp4", 40]]) {
    transfer.items.add(new File([new Uint8Array(size * mib).fill(size)], name, { type: "video/mp4" }));
  }
  return transfer;
}, MIB);
const slow = await Network.of(there, 8 * MIB);
const drag = (kind) => there.page.dispatchEvent("main", kind, { dataTransfer: files });
await drag("dragenter");
await drag("dragover");
await there.page.getByText("Drop to upload").waitFor();
await there.look("dropping");
await drag("drop");
assert.equal(await there.page.getByText("Drop to upload").count(), 0);
await entry(there, "done").filter({ has: there.page.locator('input[value="one.mp4"]') }).waitFor();

// One of them is thrown away while it is sent: nothing is left of it, here or there.
await entry(there, "sending").waitFor();
await button(there, "Cancel two.mp4").click();
await there.page.getByText("“two.mp4” was cancelled.").waitFor();
await slow.full();
const listed = there.page.waitForResponse((answer) => new URL(answer.url()).pathname === "/v1/uploads");
await there.page.reload();
assert.deepEqual((await (await listed).json()).uploads, [], "the server has no unfinished upload");

// A server that takes a part's bytes and then says nothing: after half a minute the part is tried again, and arrives.
const stalling = createServer(() => undefined).listen(0, "127.0.0.1");
await once(stalling, "listening");
let stalled = null;
await there.page.route(/partNumber=2&/, (route) => {
  if (stalled) return route.continue();
  stalled = route.request().url();
  return route.continue({ url: `http://127.0.0.1:${stalling.address().port}/` });
});
await there.page.clock.install();
const last = new Parts(there.page);
const small = join(folder, "pier.mp4");
await writeFile(small, Buffer.alloc(20 * MIB, 7));
await Promise.all([once(stalling, "request"), there.choose(there.page.getByRole("button", { name: "Upload" }), small)]);
await last.until(2);
await there.page.clock.fastForward(25_000);
assert.equal(await entry(there).getByText("Waiting for the connection").count(), 0, "not yet");
await there.page.clock.fastForward(6_000);
await entry(there, "done").waitFor();
assert.deepEqual(last.begun.toSorted(), [1, 2, 2, 3], "the part that stalled was sent again, and no other");
stalling.closeAllConnections();
stalling.close();

await there.end();
await browser.close();
console.log(JSON.stringify({ looks: [...ann.seen, ...there.seen], wrong: [...ann.wrong, ...there.wrong] }));
process.exit(0);

function repeated(arrived, begun) {
  return arrived.filter((n) => begun.includes(n));
}
