// The statistics page in a real browser. How to run it: README.md beside this file.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { parseArgs } from "node:util";

import { Browser, findChromium } from "./chromium.mjs";
import { EVIL, FIXTURES } from "./fixtures.mjs";
import { ADMIN_KEY, PAGE, startGateway, USER_KEY } from "./gateway.mjs";

const { values: options } = parseArgs({ options: { pictures: { type: "string" }, url: { type: "string" }, key: { type: "string" } } });
const path = findChromium();
if (!path) {
  console.log("skipped: no Chromium");
  process.exit(0);
}
if (Boolean(options.url) !== Boolean(options.key)) throw new Error("give --url and --key together");

const browser = new Browser(path);
const gateway = await startGateway(FIXTURES);
after(async () => {
  await browser.close();
  await gateway.close();
});

// ---- Steps -----------------------------------------------------------------------------------------------------------

const LOADED = "document.querySelector('#said').textContent === 'Loaded'";

async function enter(page, key) {
  await page.type("#key", key);
  await page.press("Enter");
}

/** A tab that shows the fixture. */
async function shown(fixture, prepare = async () => {}) {
  const page = await browser.page();
  await prepare(page);
  await page.open(gateway.url(fixture));
  await enter(page, ADMIN_KEY);
  await page.until(LOADED);
  return page;
}

/** Nothing was blocked, nothing failed, nothing was printed; but for what a test provoked. */
function quiet(page, ...provoked) {
  const rest = page.complaints.filter((complaint) => !provoked.some((pattern) => pattern.test(complaint)));
  assert.deepEqual(rest, []);
}

async function picture(page, name) {
  if (!options.pictures) return;
  mkdirSync(options.pictures, { recursive: true });
  writeFileSync(join(options.pictures, `${name}.png`), await page.picture());
}

const names = (page, section) => page.texts(`#${section} tbody th`);

/** The text with less contrast against what is behind it than WCAG's AA asks for. */
const PALE_TEXT = `(() => {
  const parse = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return { r, g, b, a }; };
  const light = ({ r, g, b }) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    const colour = parse(getComputedStyle(node).backgroundColor);
    return colour.a === 1 || !node.parentElement ? colour : behind(node.parentElement);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pale = [];
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility() || ["SCRIPT", "NOSCRIPT"].includes(node.tagName)) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(node.ownerSVGElement ? style.fill : style.color)), light(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) pale.push(text.data.slice(0, 40) + " " + contrast.toFixed(2));
  }
  return pale;
})()`;

// ---- Against the stand-in --------------------------------------------------------------------------------------------

const fixtureTest = (name, body) => test(name, { skip: Boolean(options.url), timeout: 120_000 }, body);

fixtureTest("the file has one script, one style, and nothing the policy forbids", () => {
  assert.equal(PAGE.match(/<script/g).length, 1);
  assert.equal(PAGE.match(/<style/g).length, 1);
  assert.match(PAGE, /<script>\n/);
  assert.match(PAGE, /<style>\n/);
  assert.doesNotMatch(PAGE, /\sstyle=|\son[a-z]+="|innerHTML|outerHTML|insertAdjacentHTML|eval\(|new Function|https?:\/\/(?!www\.w3\.org)/);
});

fixtureTest("the key is asked for and kept in sessionStorage only", async () => {
  const page = await browser.page();
  await page.open(gateway.url("ordinary"));
  assert.equal(await page.seen("#ask"), true);
  assert.equal(await page.seen("#board"), false);
  assert.deepEqual(page.asked(), []);
  await enter(page, ADMIN_KEY);
  await page.until(LOADED);
  assert.equal(await page.seen("#ask"), false);
  assert.deepEqual(await page.evaluate("Object.values(sessionStorage)"), [ADMIN_KEY]);
  assert.equal(await page.evaluate("localStorage.length + document.cookie.length"), 0);
  assert.equal(await page.evaluate(`document.documentElement.outerHTML.includes("${ADMIN_KEY}") || document.querySelector("#key").value !== ""`), false);
  assert.ok(page.requests.every(({ url }) => !url.includes(ADMIN_KEY)));
  assert.ok(page.requests.filter(({ url }) => !url.startsWith("data:")).every(({ url }) => url.startsWith(gateway.url("ordinary"))));

  await page.send("Page.reload");
  await page.until(`${LOADED} && document.querySelector("#board").checkVisibility()`);
  await page.click("#forget");
  assert.equal(await page.seen("#ask"), true);
  assert.equal(await page.seen("#board"), false);
  assert.equal(await page.evaluate("sessionStorage.length"), 0);
  assert.doesNotMatch(await page.evaluate("document.querySelector('#board').textContent"), /openai|gpt-4o|10\.0\.0/);
  quiet(page);
  await page.close();
});

fixtureTest("a key that is not accepted is asked for again, with the reason", async () => {
  const page = await browser.page();
  await page.open(gateway.url("ordinary"));
  for (const [key, reason] of [["sk-wrong", /not known/], [USER_KEY, /Permission denied/], ["with spaces in it", /without spaces/]]) {
    await enter(page, key);
    await page.until(`${reason}.test(document.querySelector("#refused").textContent)`);
    assert.equal(await page.seen("#refused"), true);
    assert.equal(await page.evaluate("sessionStorage.length"), 0);
    assert.equal(await page.evaluate("document.activeElement.id"), "key");
  }
  await picture(page, "refused-light");
  await enter(page, ADMIN_KEY);
  await page.until(LOADED);
  assert.equal(await page.seen("#refused"), false);
  quiet(page, /status of 401/, /status of 403/);
  await page.close();
});

fixtureTest("the range switch asks for its hours, and a reload keeps them", async () => {
  const page = await shown("ordinary");
  assert.equal(page.asked().at(-1).search, "?hours=24");
  for (const hours of [1, 168, 720]) {
    await page.click(`#range input[value="${hours}"]`);
    await page.until(`document.querySelector("#when").textContent.startsWith("Last ${hours} hours")`);
    assert.equal(page.asked().at(-1).search, `?hours=${hours}`);
  }
  await page.send("Page.reload");
  await page.until(`${LOADED} && document.querySelector("#range input[value='720']").checked`);
  assert.equal(page.asked().at(-1).search, "?hours=720");
  quiet(page);
  await page.close();
});

fixtureTest("tables are sorted by clicks and keys, and the third gives the delivered order back", async () => {
  const page = await shown("ordinary");
  const delivered = ["anthropic", "azure-west", "openai", "gemini-free", "local-llama"];
  const sort = () => page.evaluate("document.querySelector('#channels th:nth-child(3)').ariaSort");
  assert.deepEqual(await names(page, "channels"), delivered);
  await page.click("#channels th:nth-child(3) button");
  assert.equal(await sort(), "descending");
  assert.deepEqual(await names(page, "channels"), ["openai", "azure-west", "anthropic", "gemini-free", "local-llama"]);
  await page.focus("#channels th:nth-child(3) button");
  await page.press("Enter");
  assert.equal(await sort(), "ascending");
  assert.deepEqual(await names(page, "channels"), ["local-llama", "gemini-free", "anthropic", "azure-west", "openai"]);
  await page.click("#reload");
  await page.until(LOADED);
  assert.equal((await names(page, "channels"))[0], "local-llama", "a reload keeps the order");
  await page.press("Enter");
  assert.equal(await sort(), null);
  assert.deepEqual(await names(page, "channels"), delivered);
  // What is not known stays last, whichever way.
  await page.click("#channels th:nth-child(7) button");
  assert.equal((await names(page, "channels")).at(-1), "local-llama");
  await page.click("#channels th:nth-child(7) button");
  assert.equal((await names(page, "channels")).at(-1), "local-llama");
  quiet(page);
  await page.close();
});

fixtureTest("what is not known is a dash, never a zero", async () => {
  const page = await shown("ordinary");
  const cells = await page.texts("#channels tbody tr:last-child td");
  assert.deepEqual([cells[0], ...cells.slice(5)], ["–", "–", "–", "–", "–", "–", "–"]);
  assert.equal((await names(page, "models")).at(-1), "–");
  await page.close();
});

fixtureTest("the first 20 addresses are shown, the others on demand", async () => {
  const page = await shown("ordinary");
  assert.equal((await names(page, "ips")).length, 20);
  assert.match(await page.text("#ips .rest"), /37 more/);
  await page.click("#ips .rest");
  assert.equal((await names(page, "ips")).length, 57);
  await page.close();
});

fixtureTest("names cannot become markup", async () => {
  const page = await shown("evil");
  await page.evaluate("document.querySelector('#as-table').open = true");
  const models = await page.evaluate("[...document.querySelectorAll('#channel-models tbody th')].map((cell) => cell.firstChild.textContent)");
  assert.deepEqual(models, EVIL);
  assert.deepEqual(await names(page, "channels"), EVIL);
  for (const section of ["models", "endpoints", "ips", "live"]) assert.deepEqual(await names(page, section), EVIL);
  assert.equal(await page.evaluate("document.querySelectorAll('img, iframe, object, main script, main style, [onload], [onerror], main h1').length"), 0);
  assert.equal(await page.evaluate("typeof injected"), "undefined");
  quiet(page);
  await page.close();
});

fixtureTest("an empty time and a gateway without a database say so", async () => {
  const empty = await shown("empty");
  assert.match(await empty.text("#nothing"), /No requests in this time/);
  assert.equal(await empty.seen("#past"), false);
  assert.equal(await empty.seen("#live"), true);
  await picture(empty, "empty-light");
  quiet(empty);
  await empty.close();
  const disabled = await shown("disabled");
  assert.match(await disabled.text("#disabled"), /DISABLE_DATABASE/);
  assert.equal(await disabled.seen("#past"), false);
  assert.deepEqual(await names(disabled, "live"), ["openai", "anthropic"]);
  await picture(disabled, "disabled-light");
  quiet(disabled);
  await disabled.close();
});

fixtureTest("a document with the five old lists alone is shown as far as it goes", async () => {
  const page = await shown("old");
  assert.deepEqual(await names(page, "channels"), ["openai"]);
  assert.match(await page.text("#figures"), /Requests\s+–/);
  assert.equal(await page.seen("#chart"), false);
  quiet(page);
  await page.close();
});

fixtureTest("an answer that is no statistics is said to be unreadable", async () => {
  const page = await browser.page();
  await page.open(gateway.url("other"));
  await enter(page, ADMIN_KEY);
  await page.until("/cannot be read/.test(document.querySelector('#trouble').textContent)");
  quiet(page);
  await page.close();
});

fixtureTest("an unreachable gateway leaves the figures and says since when", async () => {
  const page = await shown("ordinary");
  gateway.down = true;
  await page.click("#reload");
  await page.until("!document.querySelector('#trouble').hidden");
  assert.match(await page.text("#trouble"), /did not answer \(since \d\d:\d\d:\d\d\)\. Shown is what was true at \d\d:\d\d:\d\d/);
  assert.equal(await page.seen("#channels"), true);
  await picture(page, "unreachable-light");
  gateway.down = false;
  gateway.status = 503;
  await page.click("#reload");
  await page.until("/503.*database is locked/.test(document.querySelector('#trouble').textContent)");
  gateway.status = 200;
  await page.click("#reload");
  await page.until("document.querySelector('#trouble').hidden");
  quiet(page, /ERR_EMPTY_RESPONSE/, /status of 503/);
  await page.close();
});

// The page's long timers are caught and run by hand, so that nobody waits for a clock.
const CAUGHT_TIMERS = `{
  const [start, stop] = [setTimeout, clearTimeout];
  window.caught = new Map();
  let next = 1e9;
  window.setTimeout = (action, ms, ...rest) => (ms < 20000 ? start(action, ms, ...rest) : (caught.set(next, { action, ms }), next++));
  window.clearTimeout = (id) => caught.delete(id) || stop(id);
}`;

fixtureTest("it refreshes every 30 s, but not in a hidden tab", async () => {
  const page = await shown("ordinary", (page) => page.beforeScripts(CAUGHT_TIMERS));
  const timers = () => page.evaluate("[...caught.values()].map(({ ms }) => ms)");
  const hide = (hidden) => page.evaluate(`Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"))`);
  assert.deepEqual(await timers(), [30_000]);
  await page.evaluate("[...caught.values()][0].action()");
  await page.until("[...caught.values()].every(({ ms }) => ms === 30000)");
  assert.equal(page.asked().length, 2);
  await hide(true);
  assert.deepEqual(await timers(), []);
  await hide(false);
  assert.deepEqual(await timers(), [30_000]);
  await page.click("#forget");
  assert.deepEqual(await timers(), []);
  quiet(page);
  await page.close();
});

fixtureTest("the chart speaks to the pointer and to the keys", async () => {
  const page = await shown("ordinary");
  const at = await page.evaluate("(({ x, y, width }) => ({ x: x + width / 2, y: y + 90 }))(document.querySelector('#plot').getBoundingClientRect())");
  await page.point(at.x, at.y);
  await page.until("document.querySelector('#tip').checkVisibility()");
  assert.match(await page.text("#tip"), /UTC[^]*Requests\s+\d+[^]*Success rate\s+\d/);
  await page.point(5, 5);
  await page.until("!document.querySelector('#tip').checkVisibility()");
  await page.focus("#plot");
  await page.press("Home");
  const first = await page.evaluate("document.querySelector('#plot').ariaValueText");
  assert.match(first, /Requests \d+, Succeeded \d+/);
  await page.press("ArrowRight");
  assert.equal(await page.evaluate("document.querySelector('#plot').ariaValueNow"), "2");
  await page.press("Escape");
  assert.equal(await page.seen("#tip"), false);
  await page.evaluate("document.querySelector('#as-table').open = true");
  await page.until("document.querySelectorAll('#as-table tbody tr').length === 20");
  quiet(page);
  await page.close();
});

fixtureTest("500 rows and 720 points are drawn at once", async () => {
  const page = await shown("many");
  assert.match(await page.text("#figures .warning"), /1,234/);
  await picture(page, "many-light");
  const took = await page.evaluate(`(() => {
    const start = performance.now();
    document.querySelector("#channel-models th:nth-child(4) button").click();
    document.querySelector("#channel-models .rest").click();
    document.body.getBoundingClientRect();
    return performance.now() - start;
  })()`);
  assert.equal((await names(page, "channel-models")).length, 500);
  console.log(`unfolding and sorting 500 rows: ${Math.round(took)} ms`);
  assert.ok(took < 2000, `${took} ms`);
  quiet(page);
  await page.close();
});

for (const fixture of ["ordinary", "empty", "many", "evil", "long", "disabled", "old"]) {
  fixtureTest(`nothing is wider than a phone: ${fixture}`, async () => {
    const page = await shown(fixture, (page) => page.size(360, 740, true));
    await page.evaluate("document.querySelector('#as-table').open = true");
    assert.equal(await page.evaluate("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"), 360);
    quiet(page);
    await page.close();
  });
}

fixtureTest("all text has the contrast that AA asks for, in both themes", async () => {
  for (const theme of ["light", "dark"]) {
    for (const fixture of ["ordinary", "many", "disabled"]) {
      const page = await shown(fixture, (page) => page.theme(theme));
      await page.until("getComputedStyle(document.querySelector('main')).opacity === '1'");
      assert.deepEqual(await page.evaluate(PALE_TEXT), [], `${theme} ${fixture}`);
      await page.close();
    }
    const page = await browser.page();
    await page.theme(theme);
    await page.open(gateway.url("ordinary"));
    await enter(page, "not a key");
    assert.deepEqual(await page.evaluate(PALE_TEXT), [], `${theme} form`);
    await picture(page, `form-${theme}`);
    await page.close();
  }
});

test("pictures", { skip: !options.pictures || Boolean(options.url) }, async () => {
  for (const [name, fixture, theme, width, hours] of [
    ["day-light", "ordinary", "light", 1280, 24], ["day-dark", "ordinary", "dark", 1280, 24], ["hour-light", "ordinary", "light", 1280, 1],
    ["week-light", "ordinary", "light", 1280, 168], ["month-dark", "ordinary", "dark", 1280, 720], ["phone-light", "ordinary", "light", 360, 24],
    ["phone-dark", "ordinary", "dark", 360, 168], ["long-light", "long", "light", 1280, 24], ["long-phone", "long", "dark", 360, 24],
    ["evil-light", "evil", "light", 1280, 24]]) {
    const page = await shown(fixture, async (page) => {
      await page.theme(theme);
      await page.size(width, 900, width < 500);
    });
    await page.click(`#range input[value="${hours}"]`);
    await page.until(`document.querySelector("#said").textContent === "Loaded" && getComputedStyle(document.querySelector("main")).opacity === "1"`);
    if (name === "day-dark") await page.point(700, 330);
    await picture(page, name);
    await page.close();
  }
});

// ---- Against a running gateway ----------------------------------------------------------------------------------------

test("a running gateway serves the page, and the page shows its statistics", { skip: !options.url, timeout: 120_000 }, async () => {
  const address = `${options.url.replace(/\/$/, "")}/stats`;
  const page = await browser.page();
  await page.open(address);
  for (const directive of ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self'", "form-action 'none'",
    "frame-ancestors 'none'"]) {
    assert.ok(page.policy?.includes(directive), `the policy has ${directive}: ${page.policy}`);
  }
  await enter(page, "sk-surely-not-a-key-of-this-gateway");
  await page.until("!document.querySelector('#refused').hidden");
  await enter(page, options.key);
  await page.until(LOADED);
  assert.equal(await page.seen("#trouble"), false);
  assert.equal(await page.seen("#live"), true);
  for (const hours of [1, 168, 720, 24]) {
    await page.click(`#range input[value="${hours}"]`);
    await page.until(LOADED);
    assert.equal(page.asked().at(-1).search, `?hours=${hours}`);
    assert.equal(await page.seen("#trouble"), false);
  }
  for (const theme of ["light", "dark"]) {
    await page.theme(theme);
    await page.size(1280, 900);
    await picture(page, `gateway-${theme}`);
  }
  await page.size(360, 740, true);
  assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 360);
  await picture(page, "gateway-phone");
  quiet(page, /status of 40[13]/);
  await page.close();
});
