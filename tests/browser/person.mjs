// What a person does in the web app, as the tests say it: pages, uploads, a network that breaks, and what must never happen.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";

const MIB = 1024 * 1024;
const WIDE = { width: 1360, height: 860 };
const PHONE = { width: 390, height: 844 };

/** A browser of their own, in which nothing may break: no script error, and nothing that the page's policy refuses. */
export async function person(browser, base, shots = null) {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", baseURL: base });
  // As in browsers that hand out no file handles: the file is chosen by the page's own field.
  await context.addInitScript(() => {
    delete window.showOpenFilePicker;
    window.refused = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      window.refused.push(`${violatedDirective}: ${blockedURI}`));
  });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`script error: ${error}`));
  page.on("console", (message) => {
    if (/Content Security Policy/i.test(message.text())) wrong.push(message.text());
  });
  page.on("dialog", (dialog) => dialog.accept());
  if (shots) await mkdir(shots, { recursive: true });
  return new Person(context, page, wrong, shots);
}

class Person {
  constructor(context, page, wrong, shots) {
    Object.assign(this, { context, page, wrong, shots, seen: [] });
  }

  async signUp(name, email, password) {
    await this.page.goto("/sign-up");
    await this.page.getByLabel("Name").fill(name);
    await this.page.getByLabel("E-mail").fill(email);
    await this.page.getByLabel("New password").fill(password);
    await this.page.getByRole("button", { name: "Make the account" }).click();
    await this.page.getByRole("heading", { level: 1, name: "Library" }).waitFor();
  }

  /** By a link of the page, as people go; nothing is loaded anew. */
  async go(name) {
    await this.page.getByRole("navigation").getByRole("link", { name }).click();
    await this.page.getByRole("heading", { level: 1, name }).waitFor();
  }

  async choose(button, path) {
    const [chooser] = await Promise.all([this.page.waitForEvent("filechooser"), button.click()]);
    await chooser.setFiles(path);
  }

  /** The page in both themes and as a phone shows it; what axe finds serious is what is wrong. */
  async look(name) {
    const { page } = this;
    this.seen.push(name);
    for (const theme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: theme, reducedMotion: "reduce" });
      await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, theme);
      const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]).analyze();
      for (const { id, impact, nodes } of violations) {
        if (impact !== "serious" && impact !== "critical") continue;
        this.wrong.push(`${name}, ${theme}: ${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`);
      }
      if (this.shots) await page.screenshot({ path: join(this.shots, `${name}-${theme}.png`) });
    }
    await page.setViewportSize(PHONE);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) this.wrong.push(`${name}: a phone must scroll ${over} px sideways`);
    if (this.shots) await page.screenshot({ path: join(this.shots, `${name}-phone.png`) });
    await page.setViewportSize(WIDE);
    await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
  }

  async end() {
    this.wrong.push(...(await this.page.evaluate(() => window.refused)));
    await this.context.close();
  }
}

/** A slow network that can be cut. */
export class Network {
  static async of({ context, page }, bytesPerSecond) {
    const network = new Network();
    network.session = await context.newCDPSession(page);
    network.speed = bytesPerSecond;
    await network.session.send("Network.enable");
    await network.set(false);
    return network;
  }

  set(offline, speed = this.speed) {
    return this.session.send("Network.emulateNetworkConditions", {
      offline, latency: 0, downloadThroughput: -1, uploadThroughput: speed,
    });
  }

  full() {
    return this.set(false, -1);
  }
}

/** Every part that left the page, whatever became of it. */
export class Parts {
  constructor(page) {
    this.begun = [];
    this.arrived = [];
    // What is tried without a network sends nothing.
    this.cut = false;
    const number = (request) => {
      const url = new URL(request.url());
      return request.method() === "PUT" && url.searchParams.has("partNumber") ? Number(url.searchParams.get("partNumber")) : null;
    };
    page.on("request", (request) => {
      const n = number(request);
      if (n !== null && !this.cut) this.begun.push(n);
    });
    page.on("requestfinished", async (request) => {
      const n = number(request);
      if (n !== null && (await request.response())?.ok()) this.arrived.push(n);
    });
  }

  /** How often each was begun after this many. */
  since(count) {
    return this.begun.slice(count);
  }
}

export { MIB };
