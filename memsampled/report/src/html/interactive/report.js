// What scripts add to a report: zoom, values under the cursor, layers to choose, a filter of tests, and the keyboard.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
  const size = (bytes) => {
    if (bytes == null) return "-";
    let unit = 0;
    while (bytes >= 1024 && unit < UNITS.length - 1) { bytes /= 1024; unit += 1; }
    return `${unit ? bytes.toFixed(1) : bytes} ${UNITS[unit]}`;
  };
  // A round size, such as 1.25 GiB, is not rounded.
  const round = (bytes) => {
    const unit = Math.max(UNITS.findLastIndex((_, power) => bytes >= 1024 ** power), 0);
    return `${+(bytes / 1024 ** unit).toFixed(2)} ${UNITS[unit]}`;
  };
  const time = (seconds) => {
    const whole = Math.floor(seconds);
    const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
    if (whole < 60) return `${+seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
    const rest = whole % 60;
    if (!hours) return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
    return `${hours} h ${String(minutes).padStart(2, "0")} min${rest ? ` ${rest} s` : ""}`;
  };

  // Numbers are zigzag differences in bytes of seven bits, as curves.rs writes them.
  class Numbers {
    constructor(bytes) { this.bytes = bytes; this.at = 0; }
    next() {
      let [number, factor, byte] = [0, 1, 0];
      do {
        byte = this.bytes[this.at++];
        number += (byte & 127) * factor;
        factor *= 128;
      } while (byte & 128);
      return number;
    }
    differences(count, into, from, factor) {
      for (let index = 0, value = 0; index < count; index += 1) {
        const step = this.next();
        value += step % 2 ? -(step + 1) / 2 : step / 2;
        into[from + index] = value * factor;
      }
    }
  }

  const unpacked = async (text) => {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  // Returns the times in seconds and the layers of each part; a gap is a point without values.
  const read = (parts, bytes) => {
    const numbers = new Numbers(bytes);
    return parts.map((part) => {
      const counts = Array.from({ length: numbers.next() }, () => numbers.next());
      const whole = counts.reduce((sum, count) => sum + count + 1, -1);
      const times = new Array(Math.max(whole, 0));
      const layers = part.layers.map(() => new Array(Math.max(whole, 0)).fill(null));
      let from = 0;
      counts.forEach((count, line) => {
        numbers.differences(count, times, from, 0.001);
        layers.forEach((layer) => numbers.differences(count, layer, from, part.unit));
        from += count;
        if (line + 1 < counts.length) { times[from] = times[from - 1] + 0.0005; from += 1; }
      });
      return { times, layers };
    });
  };

  const isDark = matchMedia("(prefers-color-scheme: dark)");

  // Draws the tests that ran, what happened and the limit over the stack.
  const over = (u, part) => {
    const { ctx, bbox } = u;
    const ratio = devicePixelRatio;
    const x = (ms) => u.valToPos(ms / 1000, "x", true);
    const page = isDark.matches ? "#ffffff" : "#000000";
    ctx.save();
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    ctx.beginPath();
    ctx.rect(bbox.left, 0, bbox.width, bbox.top + bbox.height);
    ctx.clip();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.lineWidth = ratio;
    for (const [name, begin, end, lane, isSuccess] of part.tests) {
      const [left, right, top] = [x(begin), Math.max(x(end), x(begin) + 2), lane * 16 * ratio];
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.fillStyle = `${page}22`;
      ctx.strokeStyle = isSuccess ? page : part.alarm;
      ctx.fillRect(left, top, right - left, 14 * ratio);
      ctx.strokeRect(left, top, right - left, 14 * ratio);
      const from = Math.max(left, bbox.left) + 3 * ratio;
      const text = `${isSuccess ? "" : "\u2717 "}${name}`;
      if (ctx.measureText(text).width < right - from) { ctx.fillStyle = page; ctx.fillText(text, from, top + 11 * ratio); }
    }
    for (const [at, isKill] of part.events) {
      ctx.strokeStyle = isKill ? part.alarm : page;
      ctx.setLineDash(isKill ? [] : [3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x(at), bbox.top);
      ctx.lineTo(x(at), bbox.top + bbox.height);
      ctx.stroke();
    }
    if (part.limit && part.limit <= u.scales.y.max) {
      const y = u.valToPos(part.limit, "y", true);
      ctx.strokeStyle = part.alarm;
      ctx.setLineDash([8 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillStyle = page;
      ctx.fillText(`limit ${size(part.limit)}`, bbox.left + 4 * ratio, y - 4 * ratio);
    }
    ctx.restore();
  };

  const draw = (part, data, index) => {
    const picture = byId(`machine-${index}`);
    if (!picture || data.times.length < 2) return;
    const visible = part.layers.map(() => true);
    // The sum of a layer and all below it; the highest is drawn first and the others over it.
    const sums = () => {
      const last = new Array(data.times.length).fill(0);
      const stacked = data.layers.map((layer, at) => {
        if (visible[at]) layer.forEach((bytes, tick) => { last[tick] = bytes == null ? null : (last[tick] ?? 0) + bytes; });
        return visible[at] ? last.slice() : last.map(() => null);
      });
      return [data.times, ...stacked.reverse()];
    };
    const at = element("p", { className: "at", textContent: "Point at the picture, or use the arrow keys: ← → move, + and - zoom, 0 shows all. Drag to zoom." });
    const live = element("p", { className: "unseen" });
    live.setAttribute("aria-live", "polite");
    const holder = element("div", { className: "stack", tabIndex: 0 });
    holder.setAttribute("role", "application");
    holder.setAttribute("aria-label", `${picture.getAttribute("aria-label")} Arrow keys move the cursor, plus and minus zoom, 0 shows all.`);
    holder.setAttribute("aria-details", `roles-${index}`);
    const colour = () => (isDark.matches ? "#fff" : "#000");
    const axis = () => ({ stroke: colour, grid: { stroke: () => (isDark.matches ? "#ffffff33" : "#00000033"), width: 1 }, font: "12px system-ui, sans-serif" });
    const series = part.layers.map((name, layer) => ({ label: name, fill: part.colours[layer], stroke: part.colours[layer], width: 0, points: { show: false } })).reverse();
    let said;
    const told = (u) => {
      const tick = u.cursor.idx;
      if (tick == null || data.layers[0]?.[tick] == null) return;
      const whole = data.layers.reduce((sum, layer) => sum + (layer[tick] ?? 0), 0);
      const largest = part.layers.map((name, layer) => [name, data.layers[layer][tick]]).sort((a, b) => b[1] - a[1]);
      at.textContent = `at ${time(data.times[tick])}: ${size(whole)}; ${largest.slice(0, 4).filter((it) => it[1]).map(([name, bytes]) => `${name} ${size(bytes)}`).join(", ")}`;
      values.forEach((value, layer) => { value.textContent = size(data.layers[layer][tick]); });
      clearTimeout(said);
      said = setTimeout(() => { if (document.activeElement === holder) live.textContent = at.textContent; }, 400);
    };
    const values = [];
    const chart = new uPlot({
      width: picture.parentElement.clientWidth || 960,
      height: 340,
      padding: [part.tests.reduce((most, test) => Math.max(most, (test[3] + 1) * 16), 8), null, null, null],
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max((high || 1) * 1.05, part.limit && part.limit <= high * 3 ? part.limit * 1.05 : 0)] } },
      series: [{}, ...series],
      axes: [
        { ...axis(), values: (u, ticks) => ticks.map(time), space: 90 },
        { ...axis(), values: (u, ticks) => ticks.map(round), size: 74, incrs: [1, 1024, 1048576, 1073741824, 1099511627776].flatMap((unit) => [1, 2, 5, 10, 20, 50, 128, 256, 512].map((count) => unit * count)) },
      ],
      cursor: { points: { show: false }, drag: { x: true, y: false } },
      legend: { show: false },
      hooks: { setCursor: [told], draw: [(u) => over(u, part)] },
    }, sums(), holder);
    const list = element("div", { className: "layers" });
    part.layers.forEach((name, layer) => {
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => { visible[layer] = box.checked; chart.setData(sums(), false); chart.redraw(true); });
      const mark = element("i");
      mark.style.background = part.colours[layer];
      values[layer] = element("span");
      list.append(element("label", {}, box, mark, name, " ", values[layer]));
    });
    holder.addEventListener("keydown", (event) => {
      const { min, max } = chart.scales.x;
      const [first, last] = [data.times[0], data.times[data.times.length - 1]];
      const center = chart.cursor.idx == null ? (min + max) / 2 : data.times[chart.cursor.idx];
      const zoom = (factor) => chart.setScale("x", { min: Math.max(first, center - (center - min) * factor), max: Math.min(last, center + (max - center) * factor) });
      const move = (to) => chart.setCursor({ left: Math.min(Math.max(to, 0), chart.over.clientWidth - 1), top: 10 });
      const left = chart.cursor.left < 0 ? 0 : chart.cursor.left;
      const step = event.shiftKey ? 50 : 4;
      const keys = {
        ArrowLeft: () => move(left - step), ArrowRight: () => move(left + step), Home: () => move(0), End: () => move(1e9),
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => chart.setScale("x", { min: first, max: last }), Escape: () => chart.setScale("x", { min: first, max: last }),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    holder.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const { min, max } = chart.scales.x;
      const center = chart.posToVal(event.offsetX, "x");
      const factor = event.deltaY < 0 ? 0.8 : 1.25;
      chart.setScale("x", { min: Math.max(data.times[0], center - (center - min) * factor), max: Math.min(data.times[data.times.length - 1], center + (max - center) * factor) });
    }, { passive: false });
    const still = element("details", {}, element("summary", { textContent: "The same as a still picture, with what the machine has used" }));
    picture.before(holder, at, live, list, still);
    still.append(picture);
    new ResizeObserver(() => chart.setSize({ width: holder.parentElement.clientWidth, height: 340 })).observe(holder.parentElement);
    isDark.addEventListener("change", () => chart.redraw());
    (window.memsampleCharts ??= []).push(chart);
  };

  // Tests are chosen by their names and verdicts.
  const filter = () => {
    const table = byId("tests");
    if (!table) return;
    const rows = [...table.tBodies[0].rows];
    const blocks = new Map([...document.querySelectorAll("details[data-test]")].map((block) => [block.dataset.test, block]));
    const text = element("input", { type: "search", size: 30 });
    const verdict = element("select", {}, element("option", { value: "", textContent: "all" }));
    for (const word of new Set(rows.map((row) => row.dataset.verdict).filter(Boolean))) {
      verdict.append(element("option", { value: word, textContent: word.replaceAll("_", " ") }));
    }
    const count = element("output");
    const apply = () => {
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const name = row.dataset.test.toLowerCase();
        const fits = words.every((word) => name.includes(word)) && (!verdict.value || row.dataset.verdict === verdict.value);
        row.hidden = !fits;
        const block = blocks.get(row.dataset.test);
        if (block) block.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      count.textContent = `${shown} of ${rows.length} tests`;
    };
    text.addEventListener("input", apply);
    verdict.addEventListener("change", apply);
    table.before(element("div", { className: "tools" }, element("label", {}, "Filter ", text), element("label", {}, "Verdict ", verdict), count));
    apply();
  };

  // What is wider than the page can be scrolled with the keyboard.
  const reach = () => {
    for (const section of document.querySelectorAll("section")) {
      if (section.scrollWidth <= section.clientWidth) continue;
      section.tabIndex = 0;
      section.setAttribute("role", "region");
      section.setAttribute("aria-label", section.querySelector("h2").textContent);
    }
  };

  // A link to a test opens it.
  const follow = () => {
    let id = location.hash.slice(1);
    try { id = decodeURIComponent(id); } catch { return; }
    const place = id.startsWith("test=") && byId(id);
    const block = place && place.closest("details");
    if (!block) return;
    block.hidden = false;
    block.open = true;
    place.scrollIntoView();
  };

  const start = async () => {
    filter();
    follow();
    addEventListener("hashchange", follow);
    addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((block) => { block.open = true; }));
    const parts = JSON.parse(byId("parts").textContent);
    const bytes = await unpacked(byId("curves").textContent.trim());
    read(parts, bytes).forEach((data, index) => draw(parts[index], data, index));
    reach();
    addEventListener("resize", reach);
    document.addEventListener("toggle", reach, true);
    document.documentElement.dataset.ready = "";
  };
  // What does not work leaves the still pictures.
  start().catch((error) => console.error("the still pictures remain:", error));
})();
