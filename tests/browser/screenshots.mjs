// The two pictures of README: the library, and a film that is watched. Arguments: the app's URL, a film, a folder.
import { join } from "node:path";
import { launch } from "./chromium.mjs";
import { person } from "./person.mjs";

const [base, film, folder] = process.argv.slice(2);
const browser = await launch();
const ann = await person(browser, base);
const { page } = ann;
await ann.signUp("Ann Bell", "ann@example.org", "correct horse battery");

const names = ["A meadow in spring", "First cut", "With music"];
for (const [index, name] of names.entries()) {
  await ann.choose(page.getByRole("button", { name: "Upload" }), film);
  const entry = page.locator(".dock li").nth(index);
  await entry.getByLabel("Title").fill(name);
  await entry.getByLabel("Title").blur();
  await entry.and(page.locator('[data-phase="done"]')).waitFor();
}
const ready = page.locator('.tile[data-state="ready"]');
await ready.first().waitFor({ timeout: 300_000 });
await page.locator(".tile img").nth(names.length - 1).waitFor({ timeout: 300_000 });
await page.screenshot({ path: join(folder, "library.png") });

await page.getByRole("button", { name: "Minimise" }).click();
await ready.first().getByRole("link").last().click();
await page.emulateMedia({ colorScheme: "dark" });
await page.getByRole("button", { name: "Play", exact: true }).first().click();
await page.waitForFunction(() => document.querySelector("video").currentTime > 0.5);
const seek = page.locator(".seek");
const { width } = await seek.boundingBox();
await seek.click({ position: { x: width * 0.5, y: 9 } });
await page.waitForFunction(() => document.querySelector("video").readyState === 4);
await page.getByRole("button", { name: "Pause" }).click();
await seek.hover({ position: { x: width * 0.62, y: 9 } });
await page.locator(".seek .peek > i").waitFor();
await page.screenshot({ path: join(folder, "watch.png") });
await ann.end();
await browser.close();
if (ann.wrong.length) {
  console.error(ann.wrong.join("\n"));
  process.exit(1);
}
