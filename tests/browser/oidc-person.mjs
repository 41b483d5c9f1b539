// A person who comes by an OpenID provider of another site, in a real browser. Arguments: the app's URL, the provider's.
// The last line of standard output is one JSON object: what was wrong.
import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";
import { person } from "./person.mjs";

const [base, provider] = process.argv.slice(2);
const browser = await launch();
const wrong = [];
const account = (sub) =>
  fetch(`${provider}/control`, {
    method: "POST",
    body: JSON.stringify({ account: { sub, email: `${sub}@example.org`, email_verified: true, name: sub } }),
  });
const button = (page) => page.getByRole("link", { name: "Continue with Example ID" });
const library = (page) => page.getByRole("heading", { level: 1, name: "Library" }).waitFor();
const visit = async (work) => {
  const someone = await person(browser, base);
  await work(someone, someone.page);
  await someone.end();
  wrong.push(...someone.wrong);
};

await account("ann");
await visit(async (ann, page) => {
  await page.goto("/settings");
  await button(page).waitFor();
  await ann.look("sign-in by a provider");
  await button(page).click();
  await page.getByRole("heading", { level: 1, name: "Settings" }).waitFor();
  assert.equal(new URL(page.url()).pathname, "/settings", "where they wanted to go");
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export my data" }).click();
  assert.equal((await saved).suggestedFilename(), "reelfleet-export.json");
  await ann.look("settings by a provider");
  await page.reload();
  await page.getByRole("heading", { level: 1, name: "Settings" }).waitFor();
});

await account("bob");
await visit(async (bob, page) => {
  await bob.signUp("Bob", "bob@example.org", "correct horse battery");
});
for (const first of [true, false]) {
  await visit(async (bob, page) => {
    await page.goto("/");
    await button(page).click();
    if (first) {
      await page.getByText("You have an account with this address").waitFor();
      await bob.look("linking");
      await page.getByLabel("E-mail").fill("bob@example.org");
      await page.getByLabel("Password").fill("correct horse battery");
      await page.getByRole("button", { name: "Sign in" }).click();
    }
    await library(page);
  });
}
await visit(async (_, page) => {
  await page.goto("/sign-in?failed=email_unverified");
  await page.getByText("Your address is not confirmed there").waitFor();
  await page.goto("/sign-in?failed=%3Cscript%3E");
  await page.getByText("That did not work. Try it again.").waitFor();
});
await browser.close();
console.log(JSON.stringify({ wrong }));
