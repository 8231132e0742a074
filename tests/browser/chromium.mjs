// Drives a headless Chromium over the DevTools protocol: JSON messages, each ended by a NUL byte, through the pipes
// that --remote-debugging-pipe reads (descriptor 3) and writes (descriptor 4). No package is needed for that.

import { spawn } from "node:child_process";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"];
const PATIENCE_MS = 30_000;

/** The browser's path: $CHROMIUM, or the first known name in $PATH, or undefined. */
export function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const places = process.env.PATH.split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  return places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export class Browser {
  #process;
  #profile = mkdtempSync(join(tmpdir(), "uni-api-browser-"));
  #waiting = new Map();
  #pages = new Map();
  #unread = "";
  #next = 1;

  constructor(path) {
    const root = process.getuid?.() === 0; // Chromium's sandbox refuses to run as root
    const options = ["--headless=new", "--remote-debugging-pipe", `--user-data-dir=${this.#profile}`, "--no-first-run",
      "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions",
      ...(root ? ["--no-sandbox"] : []), "about:blank"];
    this.#process = spawn(path, options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.#process.stdio[4].setEncoding("utf8").on("data", (text) => this.#read(text));
    this.#process.stdio[3].on("error", () => {});
  }

  #read(text) {
    const messages = (this.#unread + text).split("\0");
    this.#unread = messages.pop();
    for (const { id, result, error, method, params, sessionId } of messages.map((message) => JSON.parse(message))) {
      if (id === undefined) {
        this.#pages.get(sessionId)?.heard(method, params);
        continue;
      }
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  /** A new tab with a storage of its own. */
  async page() {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page((method, params) => this.send(method, params, sessionId));
    this.#pages.set(sessionId, page);
    page.close = () => this.send("Target.disposeBrowserContext", { browserContextId });
    await page.start();
    return page;
  }

  async close() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.send("Browser.close").catch(() => {});
    const alarm = setTimeout(() => this.#process.kill("SIGKILL"), 5000);
    await ended;
    clearTimeout(alarm);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

const KEYS = { Enter: 13, Escape: 27, End: 35, Home: 36, ArrowLeft: 37, ArrowRight: 39, Tab: 9 };

/** A tab: what it asked the server (`requests`) and what it complained about (`complaints`) are kept. */
export class Page {
  requests = [];
  complaints = [];
  policy = null;

  constructor(send) {
    this.send = send;
  }

  async start() {
    await Promise.all(["Page", "Runtime", "Log", "Network"].map((domain) => this.send(`${domain}.enable`)));
    await this.send("Emulation.setTimezoneOverride", { timezoneId: "Europe/Berlin" });
    await this.send("Emulation.setLocaleOverride", { locale: "en-GB" });
    await this.beforeScripts(`addEventListener("securitypolicyviolation",
      (event) => console.error("policy violated: " + event.effectiveDirective + " " + event.blockedURI));`);
    await this.size(1280, 900);
  }

  heard(method, params) {
    if (method === "Network.requestWillBeSent") this.requests.push(params.request);
    if (method === "Network.responseReceived" && params.type === "Document") {
      const headers = Object.entries(params.response.headers).map(([name, value]) => [name.toLowerCase(), value]);
      this.policy = Object.fromEntries(headers)["content-security-policy"] ?? null;
    }
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled") this.complaints.push(params.args.map((arg) => arg.value ?? arg.description).join(" "));
    if (method === "Log.entryAdded") this.complaints.push(`${params.entry.source}: ${params.entry.text}`);
  }

  /** The addresses asked for JSON, as URL objects, oldest first. */
  asked() {
    return this.requests.filter(({ headers }) => headers.Accept === "application/json").map(({ url }) => new URL(url));
  }

  beforeScripts(source) {
    return this.send("Page.addScriptToEvaluateOnNewDocument", { source });
  }

  size(width, height, phone = false) {
    return this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: phone ? 2 : 1, mobile: phone });
  }

  theme(name) {
    return this.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: name }] });
  }

  async open(url) {
    await this.send("Page.navigate", { url });
    await this.until("document.readyState === 'complete' && location.href !== 'about:blank'");
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until the expression is true. */
  async until(expression, patience = PATIENCE_MS) {
    const end = Date.now() + patience;
    while (!(await this.evaluate(expression).catch(() => false))) {
      if (Date.now() > end) throw new Error(`this did not become true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  text(selector) {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)}).innerText`);
  }

  texts(selector) {
    return this.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((node) => node.innerText.trim())`);
  }

  seen(selector) {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)})?.checkVisibility() ?? false`);
  }

  click(selector) {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);
  }

  focus(selector) {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)}).focus()`);
  }

  async press(key) {
    const code = { key, code: key, windowsVirtualKeyCode: KEYS[key] };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", ...code, ...(key === "Enter" ? { text: "\r" } : {}) });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...code });
  }

  async type(selector, text) {
    await this.focus(selector);
    await this.send("Input.insertText", { text });
  }

  point(x, y) {
    return this.send("Input.dispatchMouseEvent", { type: "mouseMoved", x, y });
  }

  /** The whole page as a picture. */
  async picture() {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    return Buffer.from(data, "base64");
  }
}
