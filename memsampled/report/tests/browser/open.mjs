// Opens a report in Chromium and prints what is seen of it as JSON: node open.mjs REPORT [DIRECTORY FOR PICTURES]
//
// Once as Jenkins serves it, without scripts and styles, and once as it is. Each in light, dark and on a narrow page.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';";
const VIEWS = [["light", 1100, "light"], ["dark", 1100, "dark"], ["narrow", 390, "light"]];
// Milliseconds that each step may take beside other work: a bound finds what hangs.
const PATIENCE = 300_000;
const [file, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const server = createServer((request, response) => {
  const headers = { "Content-Type": "text/html; charset=utf-8" };
  if (request.url === "/jenkins") headers["Content-Security-Policy"] = JENKINS;
  response.writeHead(request.url === "/favicon.ico" ? 204 : 200, headers);
  response.end(request.url === "/favicon.ico" ? "" : readFileSync(file));
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const at = (path) => `http://127.0.0.1:${server.address().port}/${path}`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-background-networking"],
  timeout: PATIENCE,
});

const opened = async (path, [name, width, colorScheme]) => {
  const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme });
  page.setDefaultTimeout(PATIENCE);
  const console = [];
  page.on("console", (message) => console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => console.push(`error: ${error.message}`));
  const begin = Date.now();
  await page.goto(at(path));
  if (path !== "jenkins") await page.waitForFunction(() => "ready" in document.documentElement.dataset);
  const milliseconds = Date.now() - begin;
  if (pictures) await page.screenshot({ path: `${pictures}/${path.replace(/\W.*/, "")}-${name}.png`, fullPage: true });
  return { page, seen: { view: name, console, milliseconds } };
};

// The time of the CPU that the process of a page has used.
const cpuSeconds = async (page) => {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const { metrics } = await session.send("Performance.getMetrics");
  await session.detach();
  return metrics.find((it) => it.name === "ProcessTime").value;
};

const result = { jenkins: [], scripts: [] };
for (const view of VIEWS) {
  const { page, seen } = await opened("jenkins", view);
  Object.assign(seen, await page.evaluate(() => {
    const isDrawn = (it) => it.getBoundingClientRect().width > 5 && it.getBoundingClientRect().height > 5;
    const numbers = {};
    for (const it of document.querySelectorAll("data[itemprop]")) (numbers[it.getAttribute("itemprop")] ??= []).push(it.value);
    return {
      pictures: [...document.querySelectorAll("svg[role=img]")].filter(isDrawn).length,
      areas: [...document.querySelectorAll("svg[role=img] path")].filter(isDrawn).length,
      tables: [...document.querySelectorAll("table")].filter(isDrawn).length,
      scripts: document.scripts.length, styles: document.styleSheets.length,
      text: document.body.innerText, numbers,
    };
  }));
  // Another link opens another test, without a script.
  const link = await page.evaluate(() => document.querySelector("#tests tbody a")?.getAttribute("href"));
  if (link) {
    await page.goto(at("jenkins") + link);
    seen.linked = await page.evaluate(() => [...document.querySelectorAll("details[data-test]")].filter((it) => it.open).map((it) => it.dataset.test));
  }
  result.jenkins.push(seen);
  await page.close();
}
for (const view of VIEWS) {
  const { page, seen } = await opened("report", view);
  await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run());
  seen.violations = found.violations.map((it) => `${it.id}: ${it.nodes[0].html.slice(0, 200)} ${it.nodes[0].failureSummary}`);
  seen.rules = found.passes.length;
  const stack = page.locator(".stack").first();
  if (await stack.count()) {
    await stack.focus();
    await page.keyboard.press("ArrowRight");
    seen.told = await page.locator(".at").first().textContent();
    // What the page takes of the CPU is the same beside other work; how many frames there are in a second is not.
    const before = await cpuSeconds(page);
    const [frames, seconds] = await page.evaluate(async () => {
      const chart = window.memsampleCharts[0];
      const { min, max } = chart.scales.x;
      const begin = performance.now();
      let frames = 0;
      while (performance.now() - begin < 1500) {
        const part = (performance.now() - begin) / 3000;
        chart.setScale("x", { min: min + (max - min) * part * 0.4, max: max - (max - min) * part * 0.4 });
        await new Promise(requestAnimationFrame);
        frames += 1;
      }
      chart.setScale("x", { min, max });
      return [frames, (performance.now() - begin) / 1000];
    });
    seen.framesPerSecond = Math.round(frames / seconds);
    seen.millisecondsOfCpuPerFrame = (1000 * ((await cpuSeconds(page)) - before)) / frames;
  }
  // What is opened gets a picture that can be zoomed, too.
  const inner = page.locator("details[data-test][open] .stack").last();
  if (await page.locator("details[data-test] svg[id]").count()) {
    await inner.waitFor();
    await inner.focus();
    await page.keyboard.press("ArrowRight");
    const widths = [];
    for (const key of ["0", "+", "0"]) {
      await page.keyboard.press(key);
      widths.push(await page.evaluate(() => {
        const { min, max } = window.memsampleCharts.at(-1).scales.x;
        return max - min;
      }));
    }
    seen.zoomed = widths;
    seen.charts = await page.evaluate(() => window.memsampleCharts.length);
    seen.toldOfTest = await page.locator("details[data-test][open] .at").last().textContent();
  }
  const search = page.locator("input[type=search]");
  if (await search.count()) {
    await search.fill("no such test");
    seen.filtered = await page.evaluate(() => [...document.querySelectorAll("#tests tbody tr")].filter((row) => !row.hidden).length);
  }
  result.scripts.push(seen);
  await page.close();
}
// A sheet of A4 with margins of a centimetre: what reaches past its edge, and what is not printed.
const paper = 718;
const sheet = await browser.newPage({ viewport: { width: 1400, height: 900 } });
sheet.setDefaultTimeout(PATIENCE);
await sheet.goto(at("report"));
await sheet.waitForFunction(() => "ready" in document.documentElement.dataset);
await sheet.emulateMedia({ media: "print" });
await sheet.setViewportSize({ width: paper, height: 1047 });
await sheet.evaluate(() => window.dispatchEvent(new Event("beforeprint")));
result.printed = await sheet.evaluate((paper) => {
  const parts = [...document.querySelectorAll("table, svg[role=img]")];
  const named = (found) => found.map((it) => it.outerHTML.slice(0, 80));
  return {
    cut: named(parts.filter((it) => it.getBoundingClientRect().right > paper + 0.5)),
    unseen: named(parts.filter((it) => !it.checkVisibility())),
    canvases: [...document.querySelectorAll("canvas")].filter((it) => it.checkVisibility()).length,
    parts: parts.length,
  };
}, paper);
if (pictures) await sheet.pdf({ path: `${pictures}/report.pdf`, format: "A4", margin: { top: "1cm", bottom: "1cm", left: "1cm", right: "1cm" } });
await browser.close();
server.close();
process.stdout.write(`${JSON.stringify(result)}\n`);
