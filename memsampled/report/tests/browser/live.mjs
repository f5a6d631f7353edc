// Opens the page of a session in Chromium, as it is, waits until its curve moves, and types into the search field; prints what is
// seen as JSON: node live.mjs BASE PATH TEXT DIRECTORY. A picture goes into DIRECTORY.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

// Milliseconds that each step may take beside other work: a bound finds what hangs.
const PATIENCE = 300_000;
const [base, path, typed, pictures] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking"],
  timeout: PATIENCE,
});
// With the policy of the page: what it forbids would be in the console.
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
page.setDefaultTimeout(PATIENCE);
const [console, foreign] = [[], []];
page.on("console", (message) => console.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => console.push(`error: ${error.message}`));
page.on("request", (it) => it.url().startsWith(base) || it.url().startsWith("data:") || foreign.push(it.url()));
await page.goto(base + path);
await page.waitForSelector("[data-curves] canvas");
await page.waitForSelector("[data-largest] table");
// The curve moves.
const drawn = () => page.$eval("[data-curves] canvas", (canvas) => canvas.toDataURL());
const first = await drawn();
await page.waitForFunction((first) => document.querySelector("[data-curves] canvas").toDataURL() !== first, first);
const state = await page.textContent("[data-state]");
const captions = await page.$$eval("[data-live] caption", (all) => all.map((it) => it.textContent));
await page.screenshot({ path: `${pictures}/live.png` });
await page.fill("[role=search] input", typed);
await page.waitForSelector("#names li");
const names = await page.$$eval("#names li", (all) => all.map((it) => it.textContent));
await page.keyboard.press("ArrowDown");
await page.screenshot({ path: `${pictures}/names.png` });
// As a screen reader has it, with the names shown.
const examined = await browser.newPage({ bypassCSP: true });
examined.setDefaultTimeout(PATIENCE);
await examined.goto(base + path);
await examined.waitForSelector("[data-largest] table");
await examined.fill("[role=search] input", typed);
await examined.waitForSelector("#names li");
await examined.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
const found = await examined.evaluate(() =>
  axe.run().then((it) => it.violations.map((one) => `${one.id}: ${one.nodes[0].html}`)),
);
await page.keyboard.press("Enter");
await page.waitForURL((url) => url.pathname.endsWith("/test"));
const seen = { console, foreign, found, state, captions, names, chosen: page.url() };
await browser.close();
process.stdout.write(JSON.stringify(seen));
