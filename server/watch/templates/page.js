"use strict";
// Rows come as events; curves are asked for of what is open. Every word of a run is set as text.
const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const FIRST = 100; // rows that are drawn before one asks for more
const runs = new Map(), sweeps = new Map(), rows = new Map(), curves = new Map(), asking = new Set();
const opened = new Set(location.hash.slice(1).split(",").filter(Boolean));
let chosen = opened.size > 0, shown = FIRST, ahead = 0, heard = 0, leftOut = 0;

function make(tag, attributes = {}, ...children) {
  const drawn = ["svg", "path", "rect", "line", "circle", "text", "g"].includes(tag);
  const element = drawn ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };

// ---- numbers as people read them
const percent = (x) => `${(100 * x).toFixed(2)} %`;
const figure = (x) => (Math.abs(x) >= 1e4 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2) : String(+x.toPrecision(4)));
const budget = (x) => (x >= 100 ? x.toFixed(0) : x.toFixed(2));
function duration(s) {
  if (!s) return "0 s";
  if (s < 1e-3) return "under 1 ms";
  if (s < 1) return `${Math.round(1e3 * s)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  const m = Math.round(s / 60);
  if (m < 60) return `${m} min`;
  const h = Math.floor(m / 60);
  return h < 48 ? `${h} h ${m % 60} min` : `${Math.round(h / 24)} days`;
}
const now = () => Date.now() / 1000 + ahead;
function ago(t) {
  const s = Math.max(1, Math.round(now() - t));
  return `${s < 60 ? `${s} s` : duration(s)} ago`;
}
const epsilonOf = (told) => (told.epsilon_is === "infinite" ? Infinity : told.epsilon);

// ---- a row
function bar(share, kind) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return make("svg", { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    make("rect", { class: "under", width: 100, height: 6 }), make("rect", { class: kind, width, height: 6 }));
}
function spark(values) {
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const d = values.map((v, i) => `${i ? "L" : "M"}${(100 * i) / (values.length - 1)} ${20 - (18 * (v - low)) / span}`);
  return make("svg", { class: "spark", viewBox: "0 0 100 22", preserveAspectRatio: "none", "aria-hidden": "true" },
    make("path", { d: d.join("") }));
}
function cell(value, small, drawing) {
  const box = make("div", { class: "cell" }, make("b", {}, value), make("small", {}, small));
  if (drawing) box.append(drawing);
  return box;
}
function runCells(row) {
  const private_ = row.target !== null, epsilon = epsilonOf(row);
  const merit = row.accuracy !== null ? percent(row.accuracy)
    : row.figure ? `${figure(row.figure[1])}` : "\u2013";
  const about = row.accuracy !== null
    ? `accuracy${row.best > row.accuracy ? `, best ${percent(row.best)}` : ""}` : row.figure ? row.figure[0] : "not evaluated yet";
  const over = private_ && epsilon > row.target * 1.0005;
  const spent = row.unit === "none" ? "no budget" : epsilon === null ? "\u2013" : `\u03b5 ${epsilon === Infinity ? "\u221e" : budget(epsilon)}`;
  const of = row.unit === "none" ? "nothing is promised" : private_ ? `of ${budget(row.target)} for each ${row.unit}` : `for each ${row.unit}`;
  const failed = row.failures ? `, ${row.failures} failed` : "";
  return [
    cell(`${row.rounds} of ${row.of || "?"} rounds`, `${row.clients} client${row.clients === 1 ? "" : "s"}${failed}`,
      bar(row.of ? row.rounds / row.of : 0, row.state === "finished" ? "good" : "over")),
    cell(merit, about, row.spark.length > 1 ? spark(row.spark) : null),
    cell(spent, of, private_ ? bar((epsilon ?? 0) / row.target, over ? "bad" : "over") : null),
    cell(row.seconds === null ? "\u2013" : duration(row.seconds), row.seconds === null ? "no round yet" : "a round"),
  ];
}
function sweepCells(row) {
  const count = (...names) => names.reduce((sum, name) => sum + (row.counts[name] || 0), 0);
  const over = count("done", "failed", "pruned");
  return [
    cell(`${over} of ${row.cells} cells`, row.search ? "so far, of a search" : row.axes.length ? `over ${row.axes.join(", ")}` : "",
      bar(row.cells ? over / row.cells : 0, row.state === "finished" ? "good" : "over")),
    cell(String(count("running")), "running"),
    cell(String(count("failed")), count("pruned") ? `failed; ${count("pruned")} pruned` : "failed"),
    cell(String(count("pending")), "to come"),
  ];
}
function tick(entry) {
  const { row, state, told, isRun } = entry;
  say(state, row.why && row.state === "diverged" ? row.why : row.state);
  const parts = isRun ? [row.data, row.model, row.arithmetic === "float" ? "" : row.arithmetic, row.engine === "cohort" ? "" : row.engine,
    row.sums === "none" ? "" : row.sums].filter(Boolean) : [];
  if (row.state === "damaged") parts.unshift(row.why);
  let left = row.left_s;
  if (left !== null && isRun) left -= Math.min(row.seconds, now() - row.wrote);
  if (left !== null) parts.unshift(left > 0.5 ? `${duration(left)} left` : "any moment now");
  if (row.state !== "finished" && row.wrote) parts.push(`wrote ${ago(row.wrote)}`);
  else if (row.created) parts.push(`begun ${ago(row.created)}`);
  if (isRun && row.stages.length) parts.push(row.stages.join(", "));
  say(told, ` \u00b7 ${parts.join(" \u00b7 ")}`);
}
function draw(row, isRun) {
  let entry = rows.get(row.id);
  if (!entry) {
    const button = make("button", { type: "button", "aria-expanded": "false", "aria-controls": `m-${row.id}` });
    const state = make("b"), told = make("span");
    const who = make("div", { class: "who" }, make("h3", {}, button), make("p", { class: "about" }, state, told));
    const head = make("div", { class: "head" }, who);
    const more = make("div", { class: "more", id: `m-${row.id}`, hidden: "" });
    entry = { li: make("li", { id: row.id }, head, more), head, who, button, state, told, more, isRun };
    rows.set(row.id, entry);
    button.addEventListener("click", () => { chosen = true; toggle(row.id, !opened.has(row.id)); });
  }
  if (entry.row !== row) {
    entry.row = row;
    say(entry.button, row.name);
    entry.li.className = `row ${row.state}`;
    entry.head.replaceChildren(entry.who, ...(isRun ? runCells(row) : sweepCells(row)));
  }
  tick(entry);
  const open = opened.has(row.id);
  entry.button.setAttribute("aria-expanded", String(open));
  if (entry.more.hidden === open) entry.more.hidden = !open;
  if (open && entry.of !== row) ask(entry);
  return entry.li;
}
function toggle(id, open) {
  if (open) opened.add(id); else opened.delete(id);
  history.replaceState(null, "", opened.size ? `#${[...opened].join(",")}` : location.pathname);
  render();
}

// ---- the lists
const ORDER = { running: 0 };
const newest = (a, b) => (ORDER[a.state] ?? 1) - (ORDER[b.state] ?? 1) || b.created - a.created || (a.name < b.name ? -1 : 1);
function fill(list, items) {
  items.forEach((item, i) => { if (list.children[i] !== item) list.insertBefore(item, list.children[i] || null); });
  while (list.children.length > items.length) list.lastChild.remove();
}
function render() {
  const find = $("find").value.toLowerCase(), state = $("state").value;
  const wanted = (row) => (!state || row.state === state || (state === "broken" && ["diverged", "damaged"].includes(row.state)))
    && [row.name, row.title, row.data, row.model].some((word) => word && word.toLowerCase().includes(find));
  const all = [...runs.values()];
  const going = all.filter((row) => row.state === "running").length;
  if (!chosen) {
    opened.clear();
    const first = all.sort(newest)[0];
    if (first) opened.add(first.id);
  }
  const some = all.filter(wanted).sort(newest);
  fill($("runs").querySelector("ul"), some.slice(0, shown).map((row) => draw(row, true)));
  fill($("sweeps").querySelector("ul"), [...sweeps.values()].filter(wanted).sort(newest).map((row) => draw(row, false)));
  $("sweeps").hidden = !sweeps.size;
  $("more").hidden = some.length <= shown;
  say($("more"), `show ${some.length - shown} more`);
  $("none").hidden = some.length > 0;
  say($("none"), all.length ? "None of this kind." : "No runs yet. Start one with: privet run tiny");
  say($("counts"), `${all.length} run${all.length === 1 ? "" : "s"}, ${going} running${leftOut ? `; ${leftOut} older ones are left out` : ""}`);
  document.title = `${going ? `${going} running \u2013 ` : ""}privet watch`;
}
function news(told) {
  ahead = told.now - Date.now() / 1000;
  leftOut = told.left_out;
  if (told.all) {
    runs.clear(); sweeps.clear(); curves.clear();
    const here = new Set([...told.runs, ...told.sweeps].map((row) => row.id));
    for (const id of [...rows.keys()]) if (!here.has(id)) rows.delete(id);
  }
  for (const row of told.runs) runs.set(row.id, row);
  for (const row of told.sweeps) sweeps.set(row.id, row);
  if (told.reports) {
    $("reports").hidden = !told.reports.length;
    fill($("reports").querySelector("ul"), told.reports.map((report) => make("li", {},
      make("a", { href: `report?id=${report.id}`, rel: "noopener", target: "_blank" }, report.name),
      make("span", {}, ` ${(report.bytes / 1e6).toFixed(1)} MB, written ${ago(report.wrote)}`))));
  }
  render();
}

// ---- what is open
async function ask(entry) {
  const { row, isRun } = entry;
  if (asking.has(row.id)) return;
  asking.add(row.id);
  try {
    const kept = curves.get(row.id), last = kept?.points.at(-1 - (kept.loose ?? 0));
    const answer = await fetch(isRun ? `run?id=${row.id}&after=${last ? last[0] : 0}&series=${kept?.series ?? ""}` : `sweep?id=${row.id}`);
    if (!answer.ok) return;
    const told = await answer.json();
    if (isRun) {
      const before = told.after && kept ? kept.points.filter((point) => point[0] <= told.after) : [];
      told.points = [...before, ...told.points];
      told.loose = told.points.length && told.points.at(-1)[0] % told.stride ? 1 : 0;
      curves.set(row.id, told);
    }
    entry.of = row;
    entry.detail = told;
    (isRun ? drawRun : drawSweep)(entry, told);
  } catch { /* the watcher is away: asked again when it is back */ } finally {
    asking.delete(row.id);
    if (opened.has(row.id) && entry.of && entry.of !== entry.row) setTimeout(() => ask(entry), 200);
  }
}
function drawRun(entry, told) {
  const { row, more } = entry, points = told.points;
  const series = (name, at, options = {}) => ({ name, lines: [{ name, points: points.map((p) => [p[0], at(p)]) }], ...options });
  const names = [...new Set(points.flatMap((p) => Object.keys(p[7])))];
  const charts = [series("Accuracy", (p) => p[1], { show: percent, tick: (x) => `${figure(100 * x)} %` }),
    ...names.map((name) => series(name, (p) => p[7][name] ?? null)),
    series("Loss on the test set", (p) => p[2]),
    ...(row.unit === "none" ? [] : [series("Epsilon spent", (p) => p[3], { show: budget, zero: true, rule: row.target, ruled: "budget" })]),
    series("Time of a round", (p) => p[4], { show: duration, zero: true }),
    series("Clients that failed", (p) => p[5], { zero: true, bars: true, whole: true, all: row.clients })];
  const drawn = charts.filter((chart) => chart.lines[0].points.some((p) => p[1] !== null));
  const settings = [row.title && `experiment ${row.title}`, row.seed !== null && `seed ${row.seed}`, row.delta !== null && row.unit !== "none" && `delta ${row.delta}`].filter(Boolean);
  const line = make("p", {}, settings.join(", "));
  if (row.next) line.append(settings.length ? "; next: " : "", make("code", {}, row.next));
  const body = [line, make("div", { class: "charts" }, ...drawn.map((chart) => chartOf(chart, entry)))];
  if (told.failures.length) body.push(make("div", { class: "failed" }, make("h4", {}, "Clients that failed last"),
    make("ul", {}, ...told.failures.slice(-8).reverse().map(([round, client, why]) => make("li", {}, `round ${round}, client ${client}: ${why}`)))));
  swap(more, body);
}
function drawSweep(entry, told) {
  const seeds = new Set(told.cells.map((c) => c.name.match(/, seed \d+$/)?.[0]));
  const short = (name) => (seeds.size > 1 ? name : name.replace(/, seed \d+$/, ""));
  const lines = told.cells.filter((c) => c.points.length).map((c) => ({ name: short(c.name), points: c.points }));
  const chart = { name: "Accuracy of each cell", lines, show: percent, tick: (x) => `${figure(100 * x)} %` };
  const items = told.cells.map((c) => {
    const name = c.run ? make("button", { type: "button" }, c.name) : make("span", {}, c.name);
    if (c.run) name.addEventListener("click", () => { chosen = true; toggle(c.run, true); reveal(c.run); });
    const epsilon = c.run ? epsilonOf(c) : null;
    const li = make("li", {}, name, make("span", {}, c.status === "running" && c.run ? `round ${c.rounds} of ${c.of}` : c.status),
      make("span", {}, c.accuracy != null ? percent(c.accuracy) : c.figure ? `${c.figure[0]} ${figure(c.figure[1])}` : ""),
      make("span", {}, epsilon ? `\u03b5 ${epsilon === Infinity ? "\u221e" : budget(epsilon)}` : ""));
    if (c.error) li.append(make("span", { class: "wrong" }, c.error));
    return li;
  });
  if (told.more) items.push(make("li", {}, `and ${told.more} more`));
  const list = make("div", { class: "cells" }, make("h4", {}, "Cells"), make("ul", {}, ...items));
  swap(entry.more, lines.length ? [make("div", { class: "charts" }, chartOf(chart, entry)), list] : [list]);
}
function reveal(id) {
  if (!rows.get(id)?.li.isConnected) { $("find").value = $("state").value = ""; shown = Infinity; render(); }
  rows.get(id)?.button.focus();
}
function swap(more, body) {
  const at = [...more.querySelectorAll("button")].indexOf(document.activeElement);
  more.replaceChildren(...body);
  if (at >= 0) more.querySelectorAll("button")[at]?.focus();
}

function stepOf(span) {
  const power = 10 ** Math.floor(Math.log10(span / 2.5));
  return [1, 2, 5, 10].map((m) => m * power).find((one) => one >= span / 3.5);
}

// ---- a chart, drawn as wide as it stands, so that its words keep their size
function chartOf(chart, entry) {
  const caption = make("figcaption"), svg = make("svg", { role: "img" });
  const box = make("figure", { class: chart.lines.length > 1 ? "many" : "" }, caption, svg);
  const show = chart.show ?? figure, write = chart.tick ?? show;
  const lines = chart.lines.map((line) => ({ ...line, points: line.points.filter((p) => p[1] !== null && Number.isFinite(p[1])) }));
  const all = lines.flatMap((line) => line.points), xs = all.map((p) => p[0]), ys = all.map((p) => p[1]);
  const few = lines.length > 1 && lines.length < 5 && lines.every((line) => line.points.length && line.name.length < 19);
  const last = lines.length === 1 ? lines[0].points.at(-1) : null;
  const rest = last ? `${show(last[1])} in round ${last[0]}` : `${lines.length} curves, to ${show(Math.max(...ys))}`;
  const tell = (text) => caption.replaceChildren(make("b", {}, chart.name), ` ${text}`);
  const of = chart.rule ? `, of ${show(chart.rule)}` : chart.all ? `, of ${chart.all}` : "";
  tell(rest + of);
  if (!all.length) { tell("no number yet"); return box; }
  svg.setAttribute("aria-label", `${chart.name} by round: ${rest}${of}`);
  let low = chart.zero ? 0 : Math.min(...ys), high = Math.max(...ys, chart.rule ?? -Infinity);
  if (chart.whole) high = Math.max(1, high);
  if (high <= low) { const pad = Math.abs(low) * 0.05 || 1; high += pad; if (!chart.zero) low -= pad; }
  const step = Math.max(chart.whole ? 1 : 0, stepOf(high - low)), ticks = [];
  for (let k = Math.floor(low / step + 1e-9); k < high / step + 1 - 1e-9; k++) ticks.push(k * step);
  [low, high] = [ticks[0], ticks.at(-1)];
  const first = Math.min(...xs), end = Math.max(first + 1, entry.isRun && entry.row.state === "running" && entry.row.of ? entry.row.of : Math.max(...xs));
  const paint = () => {
    const width = svg.clientWidth, height = 150, top = 12, bottom = 130;
    if (!width) return;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const labels = ticks.map((value) => make("text", { x: 0, y: 0, "text-anchor": "end" }, write(value)));
    const names = few ? lines.map((line) => make("text", {}, line.name)) : [];
    svg.replaceChildren(...labels, ...names);
    const widest = (texts) => Math.max(0, ...texts.map((text) => text.getComputedTextLength()));
    const margin = widest(labels) + 6, right = few ? widest(names) + 10 : 6;
    const x = (r) => margin + ((width - margin - right) * (r - first)) / (end - first), y = (v) => bottom - ((bottom - top) * (v - low)) / (high - low);
    const parts = [];
    ticks.forEach((value, i) => {
      labels[i].setAttribute("x", margin - 6); labels[i].setAttribute("y", y(value) + 4);
      parts.push(make("line", { class: "grid", x1: margin, x2: x(end), y1: y(value), y2: y(value) }), labels[i]);
    });
    parts.push(make("text", { x: margin, y: 147 }, `round ${first}`), make("text", { x: x(end) + (few ? 0 : 6), y: 147, "text-anchor": "end" }, String(end)));
    let above = -Infinity; // names stand at the ends of their lines, one below another
    const ends = names.map((text, i) => ({ text, at: lines[i].points.at(-1) })).sort((a, b) => y(a.at[1]) - y(b.at[1]));
    ends.forEach(({ text, at }, i) => {
      above = Math.min(Math.max(above + 14, y(at[1]) + 4), bottom - 14 * (ends.length - 1 - i));
      text.setAttribute("x", x(at[0]) + 6); text.setAttribute("y", above);
      parts.push(text);
    });
    if (chart.rule) parts.push(make("line", { class: "budget", x1: margin, x2: x(end), y1: y(chart.rule), y2: y(chart.rule) }));
    const thick = Math.max(1.5, Math.min(14, ((width - margin) / (end - first + 1)) * 0.6));
    const paths = lines.map((line) => {
      if (chart.bars) return make("g", {}, ...line.points.filter((p) => p[1]).map((p) =>
        make("rect", { class: "fail", x: Math.min(x(p[0]) - thick / 2, width - thick), y: y(p[1]), width: thick, height: bottom - y(p[1]) })));
      return make("path", { class: "line", d: line.points.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("") });
    });
    parts.push(...paths);
    if (last && !chart.bars) parts.push(make("circle", { class: "dot", cx: x(last[0]), cy: y(last[1]), r: 3 }));
    const at = make("line", { class: "at", y1: top, y2: bottom, visibility: "hidden" });
    svg.replaceChildren(...parts, at);
    svg.onpointermove = (event) => {
      const box = svg.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      let best = null;
      lines.forEach((line, i) => line.points.forEach((p) => {
        const far = Math.abs(x(p[0]) - px) + (lines.length > 1 ? Math.abs(y(p[1]) - py) : 0);
        if (!best || far < best.far) best = { far, p, line, i };
      }));
      at.setAttribute("x1", x(best.p[0])); at.setAttribute("x2", x(best.p[0])); at.setAttribute("visibility", "visible");
      if (lines.length > 1) paths.forEach((path, i) => path.classList.toggle("near", i === best.i));
      tell(`${show(best.p[1])} in round ${best.p[0]}${lines.length > 1 ? `: ${best.line.name}` : ""}`);
    };
    svg.onpointerleave = () => { at.setAttribute("visibility", "hidden"); paths.forEach((path) => path.classList.remove("near")); tell(rest + of); };
  };
  new ResizeObserver(paint).observe(svg);
  return box;
}

// ---- the connection
let source = null;
function connect() {
  source = new EventSource("events");
  source.addEventListener("news", (event) => {
    heard = Date.now();
    $("link").className = "live";
    say($("link"), "live");
    news(JSON.parse(event.data));
  });
  source.addEventListener("open", () => { $("link").className = "live"; say($("link"), "live"); });
  source.addEventListener("error", () => {
    const since = heard ? `; what you see is of ${new Date(heard).toLocaleTimeString()}` : "";
    $("link").className = "lost";
    say($("link"), `the watcher is away, trying again${since}`);
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
  });
}
$("find").addEventListener("input", render);
$("state").addEventListener("change", render);
$("more").addEventListener("click", () => { shown += 500; render(); });
setInterval(() => { for (const entry of rows.values()) if (entry.li.isConnected && entry.row) tick(entry); }, 1000);
connect();
