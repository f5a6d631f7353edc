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

  // Returns the times in seconds and the layers of each chart. A gap is a point without values; where curves have points
  // at different times, one that has none of its own there is undefined, which is no gap.
  const read = (charts, bytes) => {
    const numbers = new Numbers(bytes);
    const table = (curve) => {
      const counts = Array.from({ length: numbers.next() }, () => numbers.next());
      const whole = counts.reduce((sum, count) => sum + count + 1, -1);
      const times = new Array(Math.max(whole, 0));
      const layers = curve.layers.map(() => new Array(Math.max(whole, 0)).fill(null));
      let from = 0;
      counts.forEach((count, line) => {
        numbers.differences(count, times, from, 0.001);
        layers.forEach((layer) => numbers.differences(count, layer, from, curve.unit));
        from += count;
        if (line + 1 < counts.length) { times[from] = times[from - 1] + 0.0005; from += 1; }
      });
      return [times, ...layers];
    };
    return charts.map((chart) => {
      const tables = chart.curves.map(table);
      const [times, ...layers] = tables.length > 1 ? uPlot.join(tables) : tables[0];
      return { times, layers };
    });
  };

  const isDark = matchMedia("(prefers-color-scheme: dark)");

  // Draws the tests that ran, what happened and the limit over the curves.
  const over = (u, chart) => {
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
    for (const [name, begin, end, lane, isSuccess] of chart.tests) {
      const [left, right, top] = [x(begin), Math.max(x(end), x(begin) + 2), lane * 16 * ratio];
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.fillStyle = `${page}22`;
      ctx.strokeStyle = isSuccess ? page : chart.alarm;
      ctx.fillRect(left, top, right - left, 14 * ratio);
      ctx.strokeRect(left, top, right - left, 14 * ratio);
      const from = Math.max(left, bbox.left) + 3 * ratio;
      const text = `${isSuccess ? "" : "\u2717 "}${name}`;
      if (ctx.measureText(text).width < right - from) { ctx.fillStyle = page; ctx.fillText(text, from, top + 11 * ratio); }
    }
    for (const [at, isKill] of chart.events) {
      ctx.strokeStyle = isKill ? chart.alarm : page;
      ctx.setLineDash(isKill ? [] : [3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x(at), bbox.top);
      ctx.lineTo(x(at), bbox.top + bbox.height);
      ctx.stroke();
    }
    if (chart.limit && chart.limit[0] <= u.scales.y.max) {
      const [limit, what] = chart.limit;
      const y = u.valToPos(limit, "y", true);
      ctx.strokeStyle = chart.alarm;
      ctx.setLineDash([8 * ratio, 4 * ratio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillStyle = page;
      ctx.fillText(`${what} ${size(limit)}`, bbox.left + 4 * ratio, y - 4 * ratio);
    }
    ctx.restore();
  };

  const STACK = 340;
  const SINGLE = 220;

  const draw = (chart, data) => {
    const picture = byId(chart.id);
    if (!picture || data.times.length < 2) return;
    const described = chart.curves.flatMap((curve) => curve.layers).map(([name, colour, isLine]) => ({ name, colour, isLine }));
    const height = chart.stack ? STACK : SINGLE;
    const visible = described.map(() => true);
    const shown = (layer, at) => (visible[at] ? layer : layer.map(() => null));
    // Of a stack the sum of a layer and all below it; the highest is drawn first and the others over it.
    const columns = () => {
      if (!chart.stack) return [data.times, ...data.layers.map(shown)];
      const last = new Array(data.times.length).fill(0);
      const stacked = data.layers.map((layer, at) => {
        if (visible[at]) layer.forEach((bytes, tick) => { last[tick] = bytes == null ? null : (last[tick] ?? 0) + bytes; });
        return shown(last.slice(), at);
      });
      return [data.times, ...stacked.reverse()];
    };
    // Returns the value of a layer at a tick, or at its last one before.
    const value = (layer, tick) => {
      let at = tick;
      while (at > 0 && data.layers[layer][at] === undefined) at -= 1;
      return data.layers[layer][at];
    };
    const at = element("p", { className: "at", textContent: "Point at the picture, or use the arrow keys: ← → move, + and - zoom, 0 shows all. Drag to zoom." });
    const live = element("p", { className: "unseen" });
    live.setAttribute("aria-live", "polite");
    const holder = element("div", { className: "stack", tabIndex: 0 });
    holder.setAttribute("role", "application");
    holder.setAttribute("aria-label", `${picture.getAttribute("aria-label")} Arrow keys move the cursor, plus and minus zoom, 0 shows all.`);
    if (chart.details) holder.setAttribute("aria-details", chart.details);
    const colour = () => (isDark.matches ? "#fff" : "#000");
    const axis = () => ({ stroke: colour, grid: { stroke: () => (isDark.matches ? "#ffffff33" : "#00000033"), width: 1 }, font: "12px system-ui, sans-serif" });
    const series = described.map(({ name, colour, isLine }) => ({ label: name, fill: isLine ? undefined : colour, stroke: colour, width: isLine ? 2 : 0, points: { show: false } }));
    if (chart.stack) series.reverse();
    let said;
    const told = (u) => {
      const tick = u.cursor.idx;
      if (tick == null) return;
      const now = described.map(({ name }, layer) => [name, value(layer, tick)]);
      if (now.every(([, bytes]) => bytes == null)) return;
      const each = chart.stack ? now.toSorted((a, b) => b[1] - a[1]).slice(0, 4).filter(([, bytes]) => bytes) : now;
      const whole = chart.stack ? `${size(now.reduce((sum, [, bytes]) => sum + (bytes ?? 0), 0))}; ` : "";
      at.textContent = `at ${time(data.times[tick])}: ${whole}${each.map(([name, bytes]) => `${name} ${size(bytes)}`).join(", ")}`;
      values.forEach((shown, layer) => { shown.textContent = size(now[layer][1]); });
      clearTimeout(said);
      said = setTimeout(() => { if (document.activeElement === holder) live.textContent = at.textContent; }, 400);
    };
    const values = [];
    const plot = new uPlot({
      width: picture.parentElement.clientWidth || 960,
      height,
      padding: [chart.tests.reduce((most, test) => Math.max(most, (test[3] + 1) * 16), 8), null, null, null],
      scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max((high || 1) * 1.05, chart.limit && chart.limit[0] <= high * 3 ? chart.limit[0] * 1.05 : 0)] } },
      series: [{}, ...series],
      axes: [
        { ...axis(), values: (u, ticks) => ticks.map(time), space: 90 },
        { ...axis(), values: (u, ticks) => ticks.map(round), size: 74, incrs: [1, 1024, 1048576, 1073741824, 1099511627776].flatMap((unit) => [1, 2, 5, 10, 20, 50, 128, 256, 512].map((count) => unit * count)) },
      ],
      cursor: { points: { show: false }, drag: { x: true, y: false } },
      legend: { show: false },
      hooks: { setCursor: [told], draw: [(u) => over(u, chart)] },
    }, columns(), holder);
    const list = element("div", { className: "layers" });
    described.forEach(({ name, colour }, layer) => {
      const box = element("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => { visible[layer] = box.checked; plot.setData(columns(), false); plot.redraw(true); });
      const mark = element("i");
      mark.style.background = colour;
      values[layer] = element("span");
      list.append(element("label", {}, box, mark, name, " ", values[layer]));
    });
    holder.addEventListener("keydown", (event) => {
      const { min, max } = plot.scales.x;
      const [first, last] = [data.times[0], data.times[data.times.length - 1]];
      const center = plot.cursor.idx == null ? (min + max) / 2 : data.times[plot.cursor.idx];
      const zoom = (factor) => plot.setScale("x", { min: Math.max(first, center - (center - min) * factor), max: Math.min(last, center + (max - center) * factor) });
      const move = (to) => plot.setCursor({ left: Math.min(Math.max(to, 0), plot.over.clientWidth - 1), top: 10 });
      const left = plot.cursor.left < 0 ? 0 : plot.cursor.left;
      const step = event.shiftKey ? 50 : 4;
      const keys = {
        ArrowLeft: () => move(left - step), ArrowRight: () => move(left + step), Home: () => move(0), End: () => move(1e9),
        "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => plot.setScale("x", { min: first, max: last }), Escape: () => plot.setScale("x", { min: first, max: last }),
      };
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
    holder.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const { min, max } = plot.scales.x;
      const center = plot.posToVal(event.offsetX, "x");
      const factor = event.deltaY < 0 ? 0.8 : 1.25;
      plot.setScale("x", { min: Math.max(data.times[0], center - (center - min) * factor), max: Math.min(data.times[data.times.length - 1], center + (max - center) * factor) });
    }, { passive: false });
    const still = element("details", {}, element("summary", { textContent: `The same as a still picture${chart.still ? `, ${chart.still}` : ""}` }));
    picture.before(holder, at, live, list, still);
    still.append(picture);
    new ResizeObserver(() => plot.setSize({ width: holder.parentElement.clientWidth, height })).observe(holder.parentElement);
    isDark.addEventListener("change", () => plot.redraw());
    (window.memsampleCharts ??= []).push(plot);
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
    const charts = JSON.parse(byId("charts").textContent);
    const bytes = await unpacked(byId("curves").textContent.trim());
    read(charts, bytes).forEach((data, index) => {
      const block = byId(charts[index].id)?.closest("details");
      // What is closed has no width yet, and of many tests few are looked at.
      if (!block || block.open) { draw(charts[index], data); return; }
      block.addEventListener("toggle", () => draw(charts[index], data), { once: true });
    });
    reach();
    addEventListener("resize", reach);
    document.addEventListener("toggle", reach, true);
    document.documentElement.dataset.ready = "";
  };
  // What does not work leaves the still pictures.
  start().catch((error) => console.error("the still pictures remain:", error));
})();
