// A session while it goes on: the memory of its processes as curves, and its largest roles and processes.

import uPlot from "uplot";
import { size } from "./size";

interface Role {
  role: string;
  processes: number;
  rss_bytes: number;
  anon_bytes: number;
}

interface Process {
  pid: number;
  comm: string;
  role: string;
  test: string | null;
  rss_bytes: number;
  anon_bytes: number;
  pss_bytes: number | null;
}

interface Memory {
  ts: string;
  processes: number;
  rss_bytes: number;
  anon_bytes: number;
  pss_bytes: number;
  pss_processes: number;
  largest: Process[];
  roles: Role[];
}

interface Session {
  state: string;
  tests: string[];
  latest: Memory | null;
}

/** Seconds that the curves go back. */
const SPAN = 600;

/** The curves: their names, and what they show of each instant. */
const CURVES: [string, (memory: Memory) => number][] = [
  ["sum of resident sets", (memory) => memory.rss_bytes],
  ["sum of anonymous memory", (memory) => memory.anon_bytes],
];

/** Draws a session below its heading, for as long as it goes on. */
export function follow(section: HTMLElement): void {
  const place = (name: string): HTMLElement => section.querySelector<HTMLElement>(`[data-${name}]`)!;
  const state = place("state");
  const rows: number[][] = [[], ...CURVES.map(() => [])];
  let chart: uPlot | undefined;
  state.textContent = "Waiting for the first sample.";

  const draw = (memory: Memory): void => {
    const at = Date.parse(memory.ts) / 1000;
    const times = rows[0]!;
    if (times.length > 0 && at <= times[times.length - 1]!) return;
    times.push(at);
    CURVES.forEach(([, value], index) => rows[index + 1]!.push(value(memory)));
    while (times.length > 1 && times[0]! < at - SPAN) rows.forEach((row) => row.shift());
    if (chart) chart.setData(rows as uPlot.AlignedData);
    else chart = plot(place("curves"), rows);
  };

  const source = new EventSource(section.dataset.live ?? "");
  const show = (event: MessageEvent<string>): void => {
    const session = JSON.parse(event.data) as Session;
    const memory = session.latest;
    const tests = session.tests.length > 0 ? `; in test ${session.tests.join(", ")}` : "";
    if (!memory) {
      if (session.state !== "recording") state.textContent = "The session has ended.";
      return;
    }
    state.textContent =
      `${memory.processes} processes have resident sets of ${size(memory.rss_bytes)} together (shared pages count for each), ` +
      `of which ${size(memory.anon_bytes)} are anonymous${tests}.`;
    draw(memory);
    table(place("roles"), "Largest roles", ["Role", "Processes", "Sum of RSS", "Sum of anonymous"], memory.roles.map((it) => [
      it.role,
      String(it.processes),
      size(it.rss_bytes),
      size(it.anon_bytes),
    ]));
    table(place("largest"), "Largest processes", ["Process", "Pid", "RSS", "Anonymous", "PSS"], memory.largest.map((it) => [
      it.comm,
      String(it.pid),
      size(it.rss_bytes),
      size(it.anon_bytes),
      it.pss_bytes === null ? "-" : size(it.pss_bytes),
    ]));
  };
  source.addEventListener("session", show);
  source.addEventListener("ended", (event) => {
    source.close();
    show(event as MessageEvent<string>);
    state.textContent = "The session has ended.";
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) state.textContent = "The session was stopped, or its daemon does not answer.";
    else state.textContent = "The connection is lost. It is made again.";
  });
}

/** Colours that can be told apart in light and dark. */
function colours(): string[] {
  const style = getComputedStyle(document.documentElement);
  return [style.getPropertyValue("--curve-1").trim(), style.getPropertyValue("--curve-2").trim()];
}

function plot(place: HTMLElement, rows: number[][]): uPlot {
  const text = (): string => getComputedStyle(document.body).color;
  const line = (): string => getComputedStyle(document.documentElement).getPropertyValue("--grid").trim();
  const axis = (): uPlot.Axis => ({ stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } });
  const chart = new uPlot(
    {
      width: place.clientWidth,
      height: 260,
      scales: { y: { range: (_, __, largest) => [0, Math.max(largest, 1) * 1.05] } },
      axes: [
        { ...axis(), incrs: SECONDS, values: (_, marks) => marks.map(clock) },
        { ...axis(), size: 80, values: (_, marks) => marks.map(size), incrs: powers() },
      ],
      series: [
        { label: "UTC", value: (_, at: number | null) => (at === null ? "-" : clock(at)) },
        ...CURVES.map(([label], index) => ({
          label,
          stroke: () => colours()[index] ?? "gray",
          width: 2,
          points: { show: false },
          value: (_: uPlot, bytes: number | null) => (bytes === null ? "-" : size(bytes)),
        })),
      ],
    },
    rows as uPlot.AlignedData,
    place,
  );
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 260 })).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());
  return chart;
}

/** Steps of the axis of time. */
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

/** The time of day, in UTC as everywhere on these pages. */
function clock(at: number): string {
  return new Date(at * 1000).toISOString().slice(11, 19);
}

/** Steps of an axis of bytes. */
function powers(): number[] {
  const steps: number[] = [];
  for (let step = 1; step < 2 ** 52; step *= 2) steps.push(step);
  return steps;
}

function table(place: HTMLElement, title: string, heads: string[], rows: string[][]): void {
  const cells = (name: "td" | "th", texts: string[]): HTMLTableRowElement => {
    const row = document.createElement("tr");
    texts.forEach((text, index) => {
      const cell = document.createElement(name === "td" && index === 0 ? "th" : name);
      if (name === "td" && index === 0) cell.setAttribute("scope", "row");
      if (index > 0) cell.className = "n";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  };
  const made = document.createElement("table");
  const caption = document.createElement("caption");
  caption.textContent = title;
  const head = document.createElement("thead");
  head.append(cells("th", heads));
  const body = document.createElement("tbody");
  body.append(...rows.map((row) => cells("td", row)));
  made.append(caption, head, body);
  place.replaceChildren(made);
}
