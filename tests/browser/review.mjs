// Three people and a mail: what waits, who decides, and that opening a link decides nothing. Arguments: the app's URL, a folder for
// screenshots, films. Standard input: one JSON object a line, the mail about each film: {name, link, code}.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { launch } from "./chromium.mjs";
import { person } from "./person.mjs";

const [base, shots, ...films] = process.argv.slice(2);
const mails = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await launch();

const ann = await person(browser, base, shots);
await ann.signUp("Ann Bell", "ann@example.org", "correct horse battery");
const bob = await person(browser, base, shots);
await bob.signUp("Bob Stone", "bob@example.org", "staple battery horse");
assert.equal(await bob.page.getByRole("navigation").getByRole("link", { name: "Review" }).count(), 0, "Bob reviews nothing");
await bob.choose(bob.page.getByRole("button", { name: "Upload" }), films);
const tile = (name) => bob.page.locator(".tile").filter({ hasText: name });
for (const name of ["good", "bad"]) await tile(name).getByText("Waiting for review").waitFor();
await bob.page.getByRole("button", { name: "Minimise" }).click();
await bob.look("library-waiting");
await tile("good").getByRole("link", { name: "good" }).click();
await bob.page.getByText("A reviewer looks at it first").waitFor();
await bob.look("watch-waiting");
await bob.page.goto("/");

// The desk approves one.
await ann.go("Review");
await ann.page.getByRole("list", { name: "Waiting" }).getByRole("button", { name: "good" }).click();
await ann.page.getByRole("heading", { level: 2, name: "good" }).waitFor();
await ann.page.locator("video.still-look, img.still-look").first().waitFor();
await ann.page.keyboard.press("r");
await ann.page.getByLabel("Why").waitFor();
await ann.look("review-rejecting");
await ann.page.getByRole("button", { name: "Back" }).click();
await ann.look("review");
await ann.page.getByRole("button", { name: "Approve" }).click();
await ann.page.getByText("approved.").waitFor();
await tile("good").getByText("Ready").waitFor();
await tile("good").getByRole("link", { name: "good" }).click();
await bob.page.getByRole("list", { name: "Review" }).getByText("A reviewer approved").waitFor();
assert.equal(await bob.page.getByText("ann@example.org").count(), 0, "by whom is for reviewers to know");
await bob.look("watch-approved");
await bob.page.goto("/");

// A mail about the other one: a scanner that runs scripts opens it and presses whatever it finds.
let mail;
do mail = JSON.parse((await mails.next()).value);
while (!mail.name.startsWith("bad"));
const scanner = await person(browser, base);
await scanner.page.goto(mail.link);
await scanner.page.getByRole("button", { name: "Approve" }).waitFor();
const pressed = await scanner.page.evaluate(async () => {
  let count = 0;
  for (let round = 0; round < 3; round++) {
    for (const button of document.querySelectorAll("button, a, [role=button]")) {
      button.click();
      count++;
    }
    for (const form of document.forms) form.dispatchEvent(new SubmitEvent("submit", { bubbles: true, cancelable: true }));
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return count;
});
assert.ok(pressed >= 2, `it pressed what there was: ${pressed}`);
await scanner.end();
await tile("bad").getByText("Waiting for review").waitFor();

// The person whom the mail was for.
const eve = await person(browser, base, shots);
await eve.page.goto(mail.link);
await eve.page.getByRole("heading", { level: 1, name: "bad" }).waitFor();
await eve.look("review-link");
await eve.page.getByRole("button", { name: "Reject…" }).click();
await eve.page.getByLabel("Code").fill(mail.code === "000000" ? "000001" : "000000");
await eve.page.getByLabel("Why").fill("The sound is missing");
await eve.page.getByRole("button", { name: "Reject", exact: true }).click();
await eve.page.getByText("The code is not right").waitFor();
await eve.page.getByLabel("Code").fill(mail.code);
await eve.page.getByRole("button", { name: "Reject", exact: true }).click();
await eve.page.getByText("Not approved").waitFor();
await eve.look("review-link-decided");
await eve.page.reload();
await eve.page.getByText("Not approved").waitFor();
await tile("bad").getByText("The sound is missing").waitFor();
await bob.look("library-rejected");

const people = [ann, bob, scanner, eve];
for (const one of [ann, bob, eve]) await one.end();
await browser.close();
console.log(JSON.stringify({ wrong: people.flatMap(({ wrong }) => wrong) }));
process.exit(0);
