// Opens pages of a server in Chromium and prints what is seen of each as JSON: node pages.mjs BASE DIRECTORY PATH…
//
// Each in light, dark and on a narrow page: messages of the console, requests to elsewhere, what axe finds, and whether the
// page is wider than its window. PICTURES go into DIRECTORY.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const VIEWS = [["light", 1200, "light"], ["dark", 800, "dark"], ["narrow", 390, "light"]];
// Milliseconds that each step may take beside other work: a bound finds what hangs.
const PATIENCE = 300_000;
const [base, pictures, ...paths] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking"],
  timeout: PATIENCE,
});
const seen = [];
for (const [index, path] of paths.entries()) {
  for (const [view, width, colorScheme] of VIEWS) {
    // The policy of the page does not hold for what examines it.
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme, bypassCSP: true });
    page.setDefaultTimeout(PATIENCE);
    const [console, foreign] = [[], []];
    page.on("console", (message) => console.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => console.push(`error: ${error.message}`));
    page.on("request", (it) => it.url().startsWith(base) || it.url().startsWith("data:") || foreign.push(it.url()));
    const begin = Date.now();
    await page.goto(base + path);
    const milliseconds = Date.now() - begin;
    await page.screenshot({ path: `${pictures}/${index}-${view}.png` });
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run().then((it) => it.violations.map((one) => `${one.id}: ${one.nodes[0].html}`)));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => document.activeElement.tagName);
    const text = await page.evaluate(() => document.body.innerText);
    seen.push({ path, view, console, foreign, milliseconds, found, wide, focused, text });
    await page.close();
  }
}
await browser.close();
process.stdout.write(JSON.stringify(seen));
