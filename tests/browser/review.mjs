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
// The administrator's library, which nobody loads anew.
const hall = await ann.tab();
const topics = [];
hall.page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => topics.push(payload)));
await hall.page.reload();
await hall.page.getByText("Your library is empty").waitFor();
await hall.page.getByText("Live", { exact: true }).waitFor();
await hall.page.evaluate(() => (window.opened = "once"));
const bob = await person(browser, base, shots);
await bob.signUp("Bob Stone", "bob@example.org", "staple battery horse");
assert.equal(await bob.page.getByRole("navigation").getByRole("link", { name: "Review" }).count(), 0, "Bob reviews nothing");
await bob.choose(bob.page.getByRole("button", { name: "Upload" }), films);
const tile = (name) => bob.tile(name);
for (const name of ["good", "bad", "fine"]) await tile(name).getByText("Waiting for review").waitFor();
await bob.page.getByRole("button", { name: "Minimise" }).click();
await bob.look("library-waiting");
await tile("good").getByRole("link", { name: "good" }).click();
await bob.page.getByText("A reviewer looks at it first").waitFor();
await bob.look("watch-waiting");
await bob.page.goto("/");

// What somebody else has begun turns up by itself, with its owner, and is listened to.
await hall.tile("good").getByText("Waiting for review").waitFor();
await hall.tile("good").getByText("Bob Stone").waitFor();
await hall.page.getByLabel("Whose").selectOption("me");
await hall.page.getByText("Your library is empty").waitFor();
await hall.page.getByLabel("Whose").selectOption("");
await hall.tile("good").waitFor();
await hall.look("library-everyones");
const goodId = (await hall.tile("good").getByRole("link", { name: "good" }).getAttribute("href")).split("/").at(-1);
assert.ok(topics.some((sent) => sent.includes(`"asset:${goodId}"`)), `it hears of that asset: ${topics}`);
assert.equal(await bob.page.getByLabel("Whose").count(), 0, "Bob sees his own alone");

// The link of a topic's mail names a review, and needs somebody who signs in: then it shows that one.
const [listed] = await Promise.all([ann.page.waitForResponse((answer) => /\/v1\/reviews\?/.test(answer.url())), ann.go("Review")]);
const { reviews } = await listed.json();
const late = await person(browser, base, shots);
await late.page.goto(`/reviews/${reviews.find(({ asset }) => asset.name.startsWith("fine")).id}`);
await late.signIn("ann@example.org", "correct horse battery");
await late.page.getByRole("heading", { level: 2, name: "fine" }).waitFor();
await late.page.locator("video.still-look, img.still-look").first().waitFor();
await late.look("review-one");

// The desk approves one.
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
await hall.tile("good").getByText("Ready").waitFor();
assert.equal(await hall.page.evaluate(() => window.opened), "once", "before her eyes");

// A mail about another one: a scanner that runs scripts opens it and presses whatever it finds.
const mail = await mailAbout("bad");
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

// She approves the third one from its mail.
const last = await mailAbout("fine");
await eve.page.goto(last.link);
await eve.page.getByRole("heading", { level: 1, name: "fine" }).waitFor();
await eve.page.getByLabel("Code").fill(last.code);
await eve.page.getByRole("button", { name: "Approve" }).click();
await eve.page.getByText("Approved by").waitFor();
await tile("fine").getByText("Ready").waitFor();

// Bob has forgotten his password: the mail lets him set another, once.
await bob.page.getByRole("link", { name: "Sign out" }).click();
await bob.page.getByRole("link", { name: "Forgot the password?" }).click();
await bob.page.getByLabel("E-mail").fill("bob@example.org");
await bob.page.getByRole("button", { name: "Send the link" }).click();
await bob.page.getByText("a mail with a link is on its way").waitFor();
await bob.look("forgot-sent");
const { link } = await mailAbout("reset");
for (const [password, outcome] of [["a new horse battery", "The password is set."], ["another horse battery", "The link for a new password is not valid"]]) {
  await bob.page.goto(link);
  await bob.page.getByRole("textbox", { name: "New password" }).fill(password);
  await bob.page.getByRole("button", { name: "Set the password" }).click();
  await bob.page.getByText(outcome).waitFor();
}
await bob.page.goto("/");
await bob.signIn("bob@example.org", "staple battery horse");
await bob.page.getByRole("alert").waitFor();
await bob.signIn("bob@example.org", "a new horse battery");
await tile("fine").waitFor();

const people = [ann, bob, scanner, eve, late];
for (const one of [ann, bob, eve, late]) await one.end();
await browser.close();
console.log(JSON.stringify({ looks: people.flatMap(({ seen }) => seen), wrong: people.flatMap(({ wrong }) => wrong) }));
process.exit(0);

/** The next mail about that. */
async function mailAbout(name) {
  for (;;) {
    const mail = JSON.parse((await mails.next()).value);
    if (mail.name.startsWith(name)) return mail;
  }
}
