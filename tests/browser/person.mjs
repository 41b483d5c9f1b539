// What a person does in the web app, as the tests say it: pages, uploads, a network that breaks, and what must never happen.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import axe from "axe-core";

const MIB = 1024 * 1024;
const WIDE = { width: 1360, height: 860 };
const PHONE = { width: 390, height: 844 };
/** What axe judges by, and of that what a theme changes. */
const ALL = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] };
const COLOURS = { type: "rule", values: ["color-contrast", "link-in-text-block"] };
const SIGHTS = [
  ["light", "light", WIDE, ALL],
  ["phone", "light", PHONE, ALL],
  ["phone-dark", "dark", PHONE, COLOURS],
  ["dark", "dark", WIDE, COLOURS],
];

/**
 * A browser of their own, in which nothing may break: no script error, and nothing that the page's policy refuses.
 * `handles`: a file of that name in the browser's own folder is what its file picker gives, by its handle, as Chromium's does;
 * else the file is chosen by the page's own field, as in browsers that hand out no handles.
 */
export async function person(browser, base, shots = null, handles = null) {
  const context = await browser.newContext({ viewport: WIDE, colorScheme: "light", baseURL: base });
  await context.addInitScript(handles ? handing : () => delete window.showOpenFilePicker, handles);
  await context.addInitScript(() => {
    window.refused = [];
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
      window.refused.push(`${violatedDirective}: ${blockedURI}`));
  });
  if (shots) await mkdir(shots, { recursive: true });
  const one = new Person(context, [], shots, []);
  return Object.assign(one, { page: await one.open() });
}

/** Handles of files that a page can make, which are as real as those of a disk; they may be read when the person was asked. */
function handing(name) {
  window.showOpenFilePicker = async () => {
    const folder = await navigator.storage.getDirectory();
    window.picked = (window.picked ?? 0) + 1;
    window.allowed = true;
    return [await folder.getFileHandle(name)];
  };
  FileSystemHandle.prototype.queryPermission = async () => (window.allowed ? "granted" : "prompt");
  FileSystemHandle.prototype.requestPermission = async () => {
    if (!navigator.userActivation.isActive) throw new DOMException("nobody clicked", "SecurityError");
    window.allowed = true;
    return "granted";
  };
}

class Person {
  constructor(context, wrong, shots, seen) {
    Object.assign(this, { context, wrong, shots, seen });
  }

  async open() {
    const page = await this.context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("pageerror", (error) => this.wrong.push(`script error: ${error}`));
    page.on("console", (message) => {
      if (/Content Security Policy/i.test(message.text())) this.wrong.push(message.text());
    });
    page.on("dialog", (dialog) => dialog.accept());
    return page;
  }

  /** The same person in another tab. */
  async tab(address = "/") {
    const other = new Person(this.context, this.wrong, this.shots, this.seen);
    other.page = await other.open();
    await other.page.goto(address);
    return other;
  }

  async signUp(name, email, password) {
    await this.page.goto("/sign-up");
    await this.page.getByLabel("Name").fill(name);
    await this.page.getByLabel("E-mail").fill(email);
    await this.page.getByLabel("New password").fill(password);
    await this.page.getByRole("button", { name: "Make the account" }).click();
    await this.page.getByRole("heading", { level: 1, name: "Library" }).waitFor();
  }

  /** On the page that asks for it. */
  async signIn(email, password) {
    await this.page.getByRole("heading", { name: "Sign in" }).waitFor();
    await this.page.getByLabel("E-mail").fill(email);
    await this.page.getByLabel("Password").fill(password);
    await this.page.getByRole("button", { name: "Sign in" }).click();
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

  tile(name) {
    return this.page.locator(".tile").filter({ hasText: name });
  }

  /** The page in both themes, wide and as a phone shows it; what axe finds serious is what is wrong. `ours`: else it is not judged. */
  async look(name, ours = true) {
    const { page } = this;
    this.seen.push({ name, path: new URL(page.url()).pathname });
    if (!(await page.evaluate(() => !!window.axe))) await page.evaluate(axe.source);
    for (const [sight, colorScheme, size, runOnly] of SIGHTS) {
      if (size.width !== page.viewportSize().width) await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.waitForFunction((wanted) => document.documentElement.dataset.theme === wanted, colorScheme);
      const found = !ours ? [] : await page.evaluate(async (options) => {
        const { violations } = await window.axe.run(document, options);
        const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
        return grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`);
      }, { runOnly, resultTypes: ["violations"], iframes: false, preload: false });
      this.wrong.push(...found.map((what) => `${name}, ${sight}: ${what}`));
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (ours && size === PHONE && over > 0) this.wrong.push(`${name}: a phone must scroll ${over} px sideways`);
      if (this.shots) await page.screenshot({ path: join(this.shots, `${name}-${sight}.png`) });
    }
    await page.emulateMedia({ colorScheme: "light", reducedMotion: null });
  }

  async end() {
    for (const page of this.context.pages()) this.wrong.push(...(await page.evaluate(() => window.refused ?? [])));
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
      if (n !== null && (await request.response())?.ok()) {
        this.arrived.push(n);
        this.wake?.();
      }
    });
  }

  /** Until so many have arrived. */
  async until(count) {
    while (this.arrived.length < count) {
      await new Promise((resolve, reject) => {
        const late = setTimeout(() => reject(new Error(`${this.arrived.length} of ${count} parts arrived`)), 60_000);
        this.wake = () => resolve(clearTimeout(late));
      });
    }
  }

  /** How often each was begun after this many. */
  since(count) {
    return this.begun.slice(count);
  }
}

export { MIB };
