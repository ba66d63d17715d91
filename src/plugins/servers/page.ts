/** The read-only status page: one document and one script, without anything from elsewhere. */

const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Gantry</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #888; --accent: #2a7ae2; --bad: #d33; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
header { display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; border-bottom: 1px solid var(--line); padding-bottom: .6rem; }
header span { color: var(--soft); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 120px; height: 24px; } polyline { fill: none; stroke: var(--accent); stroke-width: 1.5; }
progress { width: 100%; } .wrap { overflow-x: auto; } code { font-size: .9em; }
#events { max-height: 16rem; overflow-y: auto; border: 1px solid var(--line); padding: .4rem; }
.plots { display: flex; gap: 2rem; flex-wrap: wrap; } .plots svg { width: 320px; height: 70px; border-bottom: 1px solid var(--line); }
</style>
</head>
<body>
<header><h1>Gantry</h1><span id="facts">loading</span></header>
<div id="problems"></div>
<h2>Use</h2>
<div class="plots"><div>CPU of containers <b id="cpu-now"></b><br><svg id="cpu" viewBox="0 0 320 70" role="img" aria-label="CPU of containers"></svg></div>
<div>Memory of containers <b id="memory-now"></b><br><svg id="memory" viewBox="0 0 320 70" role="img" aria-label="Memory of containers"></svg></div></div>
<h2>Pods and containers</h2><div class="wrap"><table id="containers"></table></div>
<h2>Pulls in progress</h2><div class="wrap"><table id="transfers"></table></div>
<h2>Images and disk</h2><div class="wrap"><table id="images"></table></div>
<h2>Calls</h2><div class="wrap"><table id="calls"></table></div>
<h2>Events</h2><div id="events"></div>
<script src="/page.js"></script>
</body>
</html>
`;

const script = `"use strict";
const $ = (id) => document.getElementById(id);
const KEEP = 60;
const history = new Map();
const sums = { cpu: [], memory: [] };
let before;

function bytes(n) {
  if (n === undefined || !Number.isFinite(n)) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return n.toFixed(i === 0 ? 0 : 1) + " " + units[i];
}
function cell(text, numeric) {
  const td = document.createElement("td");
  if (numeric) td.className = "n";
  if (text instanceof Node) td.append(text); else td.textContent = text;
  return td;
}
function table(id, head, rows) {
  const table = $(id);
  table.replaceChildren();
  if (rows.length === 0) { table.append("none"); return; }
  const tr = document.createElement("tr");
  for (const h of head) { const th = document.createElement("th"); th.textContent = h; tr.append(th); }
  table.append(tr);
  for (const row of rows) { const tr = document.createElement("tr"); tr.append(...row); table.append(tr); }
}
function plot(svg, values, width, height) {
  const top = Math.max(...values, 1e-9);
  const points = values.map((v, i) => ((i / (KEEP - 1)) * width).toFixed(1) + "," + (height - 1 - (v / top) * (height - 2)).toFixed(1));
  svg.replaceChildren();
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.join(" "));
  svg.append(line);
}
function small(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 120 24");
  plot(svg, values, 120, 24);
  return svg;
}
function push(list, value) { list.push(value); if (list.length > KEEP) list.shift(); }

function show(s, at) {
  const d = s.daemon;
  $("facts").textContent = d.version + ", pid " + d.pid + ", up " + Math.floor(d.uptimeSeconds / 60) + " min, " + bytes(d.residentBytes) + " resident, " + d.root;
  const problems = s.failed.map((f) => f.plugin + ": " + f.error)
    .concat(s.calls.filter((c) => !c.streaming && c.seconds > 30).map((c) => c.method + " has run for " + c.seconds + " s"));
  $("problems").replaceChildren(...problems.map((p) => { const div = document.createElement("div"); div.className = "bad"; div.textContent = p; return div; }));
  const rows = [];
  let cpuSum = 0, memorySum = 0;
  const seen = new Set();
  for (const ns of s.namespaces) for (const c of ns.containers) {
    const key = ns.name + "/" + c.id;
    seen.add(key);
    const h = history.get(key) ?? { cpu: [], last: undefined };
    history.set(key, h);
    let cores = 0;
    if (c.cpuNs !== undefined) {
      const now = Number(c.cpuNs);
      if (h.last !== undefined && at > h.at) cores = Math.max(0, (now - h.last) / 1e6 / (at - h.at));
      h.last = now; h.at = at;
      push(h.cpu, cores);
    }
    cpuSum += cores; memorySum += c.memory ?? 0;
    rows.push([cell(ns.name), cell(c.pod), cell(c.name || c.id.slice(0, 13)), cell(c.image), cell(c.status),
      cell(c.cpuNs === undefined ? "" : (cores * 100).toFixed(1) + " %", true), cell(small(h.cpu)), cell(c.memory === undefined ? "" : bytes(c.memory), true)]);
  }
  for (const key of history.keys()) if (!seen.has(key)) history.delete(key);
  table("containers", ["namespace", "pod", "container", "image", "status", "CPU", "", "memory"], rows);
  push(sums.cpu, cpuSum); push(sums.memory, memorySum);
  plot($("cpu"), sums.cpu, 320, 70); plot($("memory"), sums.memory, 320, 70);
  $("cpu-now").textContent = (cpuSum * 100).toFixed(1) + " %"; $("memory-now").textContent = bytes(memorySum);
  table("transfers", ["namespace", "what", "done", "of", ""], s.namespaces.flatMap((ns) => ns.transfers.map((t) => {
    const bar = document.createElement("progress");
    if (t.total > 0) { bar.max = t.total; bar.value = t.done; }
    return [cell(ns.name), cell(t.ref), cell(bytes(t.done), true), cell(t.total > 0 ? bytes(t.total) : "?", true), cell(bar)];
  })));
  table("images", ["namespace", "image", "digest", ""], s.namespaces.flatMap((ns) =>
    ns.images.map((i) => [cell(ns.name), cell(i.name), cell(i.digest.slice(0, 19)), cell(i.pinned ? "pinned" : "")])
      .concat([[cell(ns.name), cell("all content"), cell(""), cell(bytes(ns.contentBytes), true)]])));
  table("calls", ["method", "namespace", "seconds"], s.calls.map((c) => [cell(c.method), cell(c.namespace), cell(c.seconds.toFixed(1), true)]));
}
async function tick() {
  try {
    const answer = await fetch("/status.json");
    if (!answer.ok) throw new Error("status " + answer.status);
    show(await answer.json(), performance.now());
  } catch (err) {
    $("facts").textContent = "the daemon does not answer: " + err.message;
  }
  setTimeout(tick, 2000);
}
void tick();
const events = new EventSource("/events");
events.onmessage = (m) => {
  const e = JSON.parse(m.data);
  const div = document.createElement("div");
  div.textContent = new Date(Number(BigInt(e.at) / 1000000n)).toLocaleTimeString() + "  " + e.namespace + "  " + e.topic;
  $("events").prepend(div);
  while ($("events").childElementCount > 200) $("events").lastElementChild.remove();
};
`;

/** Document and script. */
export const page = { html, script };
