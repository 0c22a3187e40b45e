"use strict";
// The report works without this script: text and tables are in the document. The script draws the plots and links them
// with the timeline. Every string reaches the page as text, never as markup.
// It starts after the first paint: the verdict is there before the plots are.
requestAnimationFrame(() => setTimeout(() => {
const D = JSON.parse(document.getElementById("data").textContent);
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
const NS = "http://www.w3.org/2000/svg";
document.documentElement.classList.remove("nojs");

function svg(tag, attributes, text) {
  const e = document.createElementNS(NS, tag);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  if (text !== undefined) e.textContent = text;
  return e;
}
function el(tag, properties, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

// ---- data
function unpack(p) {
  if (!p) return null;
  const bin = atob(p.d), n = bin.length / 2, out = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const v = bin.charCodeAt(2 * i) | bin.charCodeAt(2 * i + 1) << 8;
    out[i] = v === 0xFFFF ? NaN : p.a + (p.b - p.a) * v / 0xFFFE;
  }
  return out;
}
const cache = new Map();
function values(i, part = "v") {
  if (i < 0) return null;
  const key = i + part;
  if (!cache.has(key)) cache.set(key, unpack(D.series[i][part]));
  return cache.get(key);
}
function find(metric, label, value) {
  return D.series.findIndex(s => s.m === metric && (label === "" ? !Object.keys(s.l).length : Object.keys(s.l).length === 1 && s.l[label] === value));
}
const all = metric => D.series.map((s, i) => [s, i]).filter(([s]) => s.m === metric);
const T0 = D.start, T1 = D.start + D.span;
const timeOf = (j, n) => T0 + (j + .5) * D.span / n;
const indexOf = (t, n) => Math.max(0, Math.min(n - 1, Math.floor((t - T0) / D.span * n)));

// ---- words
function offset(t) { let o = D.zones[0][1]; for (const [from, off] of D.zones) if (t >= from) o = off; return o * 1000; }
const two = n => String(n).padStart(2, "0"), days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
function clock(t, withSeconds) {
  const d = new Date(t + offset(t));
  const s = two(d.getUTCHours()) + ":" + two(d.getUTCMinutes()) + (withSeconds && d.getUTCSeconds() ? ":" + two(d.getUTCSeconds()) : "");
  return D.span > 864e5 ? days[d.getUTCDay()] + " " + d.getUTCDate() + ", " + s : s;
}
function num(v) {
  const a = Math.abs(v);
  if (!isFinite(v)) return "–";
  if (a >= 1e6) return +(v / 1e6).toPrecision(3) + "M";
  if (a >= 1e4) return +(v / 1e3).toPrecision(3) + "k";
  return String(+v.toPrecision(a >= 100 ? 4 : 3));
}
function fmt(v, unit) {
  if (!isFinite(v)) return "–";
  if (unit === "s") return v >= 60 ? num(v / 60) + " min" : v >= 1 || v === 0 ? num(v) + " s" : num(v * 1e3) + " ms";
  if (unit === "%") { const p = v * 100; return (p > 0 && p < .01 ? "<0.01" : num(p)) + " %"; }
  return num(v) + (unit ? " " + unit : "");
}

// ---- plots
const view = {a: T0, b: T1};
let cursor = null, picked = -1;
const plots = [];
const color = i => "var(--s" + i % 8 + ")";
const dashes = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 4", "6 2 2 2"];

function path(v, x, y, step) {
  let d = "", pen = false;
  const n = v.length, w = D.span / n / 2;
  const from = Math.max(0, indexOf(view.a, n) - 1), to = Math.min(n - 1, indexOf(view.b, n) + 1);
  for (let j = from; j <= to; j++) {
    if (!isFinite(v[j])) { pen = false; continue; }
    const t = timeOf(j, n), py = y(v[j]).toFixed(1);
    if (step) d += (pen ? "L" : "M") + x(t - w).toFixed(1) + " " + py + "L" + x(t + w).toFixed(1) + " " + py;
    else d += (pen ? "L" : "M") + x(t).toFixed(1) + " " + py;
    pen = true;
  }
  return d;
}
// between draws the area between two series, broken where either lacks data.
function between(lo, hi, x, y, step) {
  let d = "", run = [];
  const n = hi.length, w = D.span / n / 2;
  const flush = () => {
    if (run.length) {
      const up = [], down = [];
      for (const j of run) {
        const t = timeOf(j, n), a = step ? [t - w, t + w] : [t];
        for (const s of a) { up.push(x(s).toFixed(1) + " " + y(hi[j]).toFixed(1)); down.unshift(x(s).toFixed(1) + " " + y(lo ? lo[j] : 0).toFixed(1)); }
      }
      d += "M" + up.join("L") + "L" + down.join("L") + "Z";
    }
    run = [];
  };
  const from = Math.max(0, indexOf(view.a, n) - 1), to = Math.min(n - 1, indexOf(view.b, n) + 1);
  for (let j = from; j <= to; j++) isFinite(hi[j]) && (!lo || isFinite(lo[j])) ? run.push(j) : flush();
  flush();
  return d;
}
function ticks(max, n) {
  const raw = max / n, p = 10 ** Math.floor(Math.log10(raw)), s = [1, 2, 2.5, 5, 10].find(k => k * p >= raw * .999) * p;
  const list = [];
  for (let v = 0; v <= max * 1.0001; v += s) list.push(v);
  return list;
}
const minute = 6e4, steps = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 7200, 14400].map(m => m * minute);

class Plot {
  constructor(name, build) {
    this.fig = $("#p-" + name);
    this.box = $(".box", this.fig);
    this.legend = $(".legend", this.fig);
    this.svg = svg("svg", {"aria-hidden": "true"});
    this.box.append(this.svg);
    this.build = build;
    this.last = this.box.classList.contains("last");
    this.first = !plots.length;
    plots.push(this);
    this.refresh();
    this.events();
  }
  refresh() {
    this.lines = this.build();
    this.legend.replaceChildren();
    this.out = this.lines.map((l, i) => {
      if (l.hidden) return null;
      const g = svg("svg", {width: 22, height: 10});
      g.append(l.area ? svg("rect", {x: 1, y: 2, width: 20, height: 7, fill: l.color, opacity: l.opacity || .7}) : svg("line", {x1: 0, x2: 22, y1: 5, y2: 5, stroke: l.color, "stroke-width": 2, "stroke-dasharray": l.dash || ""}));
      const value = el("i");
      this.legend.append(el("span", {className: "lg"}, g, l.name, value));
      return value;
    });
    this.draw();
  }
  max(side) {
    let m = 0;
    for (const l of this.lines) {
      if ((l.side || "l") !== side) continue;
      if (l.limit !== undefined) { m = Math.max(m, l.limit * 1.1); continue; }
      for (const v of [l.v, l.high]) if (v) {
        const n = v.length;
        for (let j = indexOf(view.a, n); j <= indexOf(view.b - 1, n); j++) if (v[j] > m) m = v[j];
      }
    }
    return m || 1;
  }
  draw() {
    const W = this.box.clientWidth, H = this.box.clientHeight, wide = W > 460;
    const ml = wide ? 50 : 40, mr = wide ? 50 : 38, mt = this.first ? 20 : 8, mb = this.last ? 22 : 5;
    this.g = {W, H, ml, mr, mt, mb};
    const x = this.x = t => ml + (t - view.a) / (view.b - view.a) * (W - ml - mr);
    const s = this.svg;
    s.replaceChildren();
    const clip = svg("clipPath", {id: "c-" + this.fig.id});
    clip.append(svg("rect", {x: ml, y: 0, width: Math.max(1, W - ml - mr), height: H}));
    s.append(clip);
    const body = svg("g", {"clip-path": "url(#c-" + this.fig.id + ")"});
    const hasRight = this.lines.some(l => l.side === "r");
    const scale = {};
    for (const side of hasRight ? ["l", "r"] : ["l"]) {
      const unit = this.lines.find(l => (l.side || "l") === side)?.unit || "";
      const top = this.max(side) * 1.06, y = v => H - mb - v / top * (H - mt - mb);
      scale[side] = y;
      for (const v of ticks(top, H > 120 ? 4 : 3)) {
        if (side === "l") s.append(svg("line", {class: v ? "g" : "ax", x1: ml, x2: W - mr, y1: y(v), y2: y(v)}));
        s.append(svg("text", {x: side === "l" ? ml - 6 : W - mr + 6, y: y(v) + 4, "text-anchor": side === "l" ? "end" : "start"}, fmt(v, unit)));
      }
    }
    this.scale = scale;
    const unit = steps.find(q => (view.b - view.a) / q <= Math.max(3, (W - ml - mr) / 78)) || steps.at(-1);
    for (let t = Math.ceil((view.a + offset(view.a)) / unit) * unit - offset(view.a); t < view.b; t += unit) {
      s.append(svg("line", {class: "g", x1: x(t), x2: x(t), y1: mt, y2: H - mb}));
      if (this.last) s.append(svg("text", {x: x(t), y: H - 7, "text-anchor": "middle"}, clock(t)));
    }
    s.append(body);
    this.marks(body, s);
    for (const l of this.lines) {
      const y = scale[l.side || "l"];
      if (l.limit !== undefined) { body.append(svg("line", {class: "lim", x1: ml, x2: W - mr, y1: y(l.limit), y2: y(l.limit)})); continue; }
      if (l.low && l.high) body.append(svg("path", {d: between(l.low, l.high, x, y, l.step), fill: l.color, opacity: l.opacity || .16}));
      if (l.area) body.append(svg("path", {d: between(l.base, l.v, x, y, l.step), fill: l.color, opacity: l.opacity || .7, stroke: l.edge || "none"}));
      else body.append(svg("path", {d: path(l.v, x, y, l.step), fill: "none", stroke: l.color, "stroke-width": 1.7, "stroke-dasharray": l.dash || "", "stroke-linejoin": "round"}));
    }
    this.over = svg("g");
    s.append(this.over);
    this.point();
  }
  marks(body, s) {
    const {H, ml, mr, mb, W} = this.g;
    let free = ml - 20;
    for (const m of D.marks) {
      if (m.u && m.u > view.a && m.t < view.b) body.append(svg("rect", {class: "mb", x: this.x(m.t), y: 0, width: Math.max(1, this.x(m.u) - this.x(m.t)), height: H - mb}));
      if (m.t < view.a || m.t > view.b) continue;
      body.append(svg("line", {class: "mk", x1: this.x(m.t), x2: this.x(m.t), y1: 0, y2: H - mb}));
      if (!this.first) continue;
      const px = this.x(m.t), width = m.n.length * 6.4 + 6;
      const left = px + width > W - mr ? px - width : px + 4;
      if (left < free) continue;
      s.append(svg("text", {class: "mt", x: left, y: 11}, m.n));
      free = left + width;
    }
  }
  point() {
    const {W, H, ml, mr, mt, mb} = this.g;
    this.over.replaceChildren();
    const line = (t, c) => { if (t >= view.a && t <= view.b) this.over.append(svg("line", {class: c, x1: this.x(t), x2: this.x(t), y1: mt - 4, y2: H - mb})); };
    if (picked >= 0) line(D.entries[picked].t, "pick");
    if (cursor !== null) line(cursor, "cur");
    if (this.drag && this.drag.b !== undefined) {
      const p = this.x(Math.min(this.drag.a, this.drag.b)), q = this.x(Math.max(this.drag.a, this.drag.b));
      this.over.append(svg("rect", {class: "brush", x: p, y: mt, width: q - p, height: H - mt - mb}));
    }
    this.lines.forEach((l, i) => {
      const out = this.out[i];
      if (!out) return;
      if (l.limit !== undefined) { out.textContent = fmt(l.limit, l.unit); return; }
      const v = l.raw || l.v;
      out.textContent = cursor === null ? "" : fmt(v[indexOf(cursor, v.length)], l.unit);
    });
  }
  events() {
    const at = e => {
      const r = this.box.getBoundingClientRect(), {ml, mr, W} = this.g;
      return Math.max(view.a, Math.min(view.b, view.a + (e.clientX - r.left - ml) / (W - ml - mr) * (view.b - view.a)));
    };
    this.box.addEventListener("pointermove", e => {
      cursor = at(e);
      if (this.drag) this.drag.b = cursor;
      point();
      nearest();
    });
    this.box.addEventListener("pointerleave", () => { if (!this.drag) { cursor = null; point(); nearest(); } });
    this.box.addEventListener("pointerdown", e => { if (e.button || e.pointerType === "touch") return; this.drag = {a: at(e)}; this.box.setPointerCapture(e.pointerId); });
    const up = e => {
      const d = this.drag;
      this.drag = null;
      if (!d) return;
      if (d.b !== undefined && Math.abs(this.x(d.a) - this.x(d.b)) > 6) zoom(Math.min(d.a, d.b), Math.max(d.a, d.b));
      else { const i = closest(at(e), (view.b - view.a) / 40); if (i >= 0) pick(i, true); }
    };
    this.box.addEventListener("pointerup", up);
    this.box.addEventListener("pointercancel", () => this.drag = null);
    this.box.addEventListener("dblclick", () => zoom(T0, T1));
  }
}
let queued = false;
function point() { if (!queued) { queued = true; requestAnimationFrame(() => { queued = false; for (const p of plots) p.point(); }); } }
function zoom(a, b) {
  const least = Math.min(D.span, 10 * minute);
  if (b - a < least) { const c = (a + b) / 2; a = c - least / 2; b = c + least / 2; }
  if (a < T0) { b += T0 - a; a = T0; }
  if (b > T1) { a = Math.max(T0, a - (b - T1)); b = T1; }
  view.a = a; view.b = b;
  for (const p of plots) p.draw();
  $("#whole").disabled = a === T0 && b === T1;
  say("Showing " + clock(a) + " to " + clock(b));
}
const say = text => { $("#said").textContent = text; };

// ---- the four plots
const short = (() => { // drop the namespace where there is only one
  const spaces = new Set(D.series.map(s => s.l.workload && s.l.workload.split("/")[1]).filter(Boolean));
  return w => w.split("/").slice(spaces.size > 1 ? 1 : 2).join("/");
})();
function choice(id, metric, label, first) {
  const names = [...new Set(all(metric).filter(([s]) => Object.keys(s.l).length === 1 && s.l[label]).map(([s]) => s.l[label]))];
  const select = $("#" + id);
  for (const n of names) select.append(el("option", {value: n, textContent: n}));
  if (first && names.includes(first)) select.value = first;
  select.hidden = names.length < 2;
  return select;
}
const range = (i) => i >= 0 && D.series[i].w ? {low: values(i, "w"), high: values(i, "h")} : {};

if ($("#p-demand")) {
  const cores = all("cpu_demand_cores").length > 0;
  const select = cores ? choice("pick-service", "cpu_demand_cores", "service", D.tightest) : choice("pick-service", "requests_per_second", "service", D.tightest);
  const plot = new Plot("demand", () => {
    const name = select.value;
    if (!cores) {
      let i = find("requests_per_second", "service", name);
      if (i < 0) i = (all("requests_per_second")[0] || [0, -1])[1];
      return i < 0 ? [] : [{name: "requests", v: values(i), color: color(0), unit: "/s", ...range(i)}];
    }
    const di = find("cpu_demand_cores", "service", name), ci = find("cpu_capacity_cores", "service", name), ri = find("requests_per_second", "service", name);
    const d = values(di), c = values(ci), lines = [];
    if (c) {
      const same = v => d.map((_, j) => v[indexOf(timeOf(j, d.length), v.length)]), cap = same(c);
      const gap = d.map((v, j) => v > cap[j] ? v : NaN);
      lines.push({name: "ready capacity", v: c, color: color(2), unit: "cores", step: true, dash: dashes[1]});
      if (gap.some(isFinite)) lines.push({name: "gap", v: gap, base: cap, raw: d.map((v, j) => Math.max(0, v - cap[j])), area: true, step: true, color: "var(--gap)", unit: "cores", opacity: .55});
    }
    lines.push({name: "demand", v: d, color: color(0), unit: "cores", ...range(di)});
    if (ri >= 0) lines.push({name: "requests", v: values(ri), color: color(7), unit: "/s", side: "r", dash: dashes[2]});
    return lines;
  });
  select.addEventListener("change", () => plot.refresh());
}
if ($("#p-latency")) {
  const label = all("latency_p95_seconds").some(([s]) => s.l.load) ? "load" : "service";
  const select = choice("pick-load", "latency_p95_seconds", label, D.load);
  const plot = new Plot("latency", () => {
    const name = select.value, p = find("latency_p95_seconds", label, name), e = find("errors_ratio", label, name), q = find("latency_p50_seconds", label, name);
    const lines = [];
    if (e >= 0) lines.push({name: "failed", v: values(e), area: true, color: color(1), unit: "%", side: "r", opacity: .45});
    if (q >= 0) lines.push({name: "p50", v: values(q), color: color(5), unit: "s", dash: dashes[2]});
    if (p >= 0) lines.push({name: "p95", v: values(p), color: color(0), unit: "s", ...range(p)});
    for (const l of D.limits) if (l.s === label + "=" + name) lines.push({name: "limit of " + l.n, limit: l.v, color: "var(--bad)", dash: "6 4", unit: "s"});
    return lines;
  });
  select.addEventListener("change", () => plot.refresh());
}
if ($("#p-updates")) new Plot("updates", () => all("rollout_weight_ratio").map(([s, i], k) =>
  ({name: short(s.l.workload), v: values(i), color: color(k), dash: dashes[k % 8], step: true, unit: "%"})));
if ($("#p-replicas")) new Plot("replicas", () => {
  const rows = all("replicas_ready").filter(([s]) => s.l.workload).map(([s, i]) => ({name: short(s.l.workload), v: values(i)}));
  const mean = v => { let s = 0; for (const x of v) s += x || 0; return s / v.length; };
  rows.sort((a, b) => mean(b.v) - mean(a.v));
  const most = rows.length > 8 ? 7 : 8, top = rows.slice(0, most), rest = rows.slice(most);
  if (rest.length) top.push({name: rest.length + " others", v: top[0].v.map((_, j) => rest.reduce((s, r) => s + (r.v[j] || 0), 0))});
  let base = null;
  return top.map((r, i) => {
    const v = r.v.map((x, j) => (base ? base[j] || 0 : 0) + x), line = {name: r.name, v, base, raw: r.v, area: true, step: true, color: color(i), opacity: .72, unit: "", edge: "var(--panel)"};
    base = v.map((x, j) => isFinite(x) ? x : base && base[j]);
    return line;
  });
});
if ($("#p-nodes")) new Plot("nodes", () => {
  const lines = all("nodes").filter(([s]) => s.l.pool || !Object.keys(s.l).length).map(([s, i], k) => ({name: s.l.pool || "nodes", v: values(i), color: color(k * 2), dash: dashes[k % 8], step: true, unit: "", ...range(i)}));
  const c = find("cost_per_hour", "", ""), p = find("pods_pending", "", "");
  if (p >= 0 && values(p).some(v => v > 0)) lines.push({name: "pods pending", v: values(p), area: true, color: color(1), opacity: .5, step: true, unit: ""});
  if (c >= 0) lines.push({name: D.currency + " an hour", v: values(c), color: color(3), dash: dashes[1], side: "r", step: true, unit: "", ...range(c)});
  return lines;
});

// ---- data tables of the plots
for (const d of $$("details.data")) d.addEventListener("toggle", () => {
  const plot = plots.find(p => p.fig.contains(d));
  if (!d.open || !plot) return;
  const lines = plot.lines.filter(l => l.v), rows = 24, body = el("tbody");
  const head = el("tr", {}, el("th", {textContent: "time", scope: "col"}));
  for (const l of lines) head.append(el("th", {textContent: l.name, className: "n", scope: "col"}));
  for (let r = 0; r < rows; r++) {
    const a = view.a + (view.b - view.a) * r / rows, row = el("tr", {}, el("th", {textContent: clock(a, true), scope: "row"}));
    for (const l of lines) {
      const v = l.raw || l.v;
      row.append(el("td", {className: "n", textContent: fmt(v[indexOf(a, v.length)], l.unit)}));
    }
    body.append(row);
  }
  $(".scroll", d).replaceChildren(el("table", {}, el("caption", {textContent: "Values in the shown stretch of time"}), el("thead", {}, head), body));
});

// ---- timeline
const list = $("#list"), items = $$(".e", list), byID = new Map(items.map((e, i) => [+e.dataset.id, i]));
function visible(i) { return items[i].offsetParent !== null; }
function closest(t, within) {
  let best = -1, d = within;
  for (let i = 0; i < items.length; i++) { const q = Math.abs(D.entries[i].t - t); if (q <= d && visible(i)) { d = q; best = i; } }
  return best;
}
let near = -1;
function nearest() {
  const i = cursor === null ? -1 : closest(cursor, (view.b - view.a) / 60);
  if (i === near) return;
  items[near]?.classList.remove("near");
  items[i]?.classList.add("near");
  near = i;
  if (i >= 0) inside(items[i]);
}
function inside(e) {
  const a = e.getBoundingClientRect(), b = list.getBoundingClientRect();
  if (a.top < b.top || a.bottom > b.bottom) list.scrollTop += a.top - b.top - b.height / 3;
}
function chainOf(id) {
  const out = [];
  while (id && !out.includes(id) && byID.has(id)) { out.push(id); id = D.entries[byID.get(id)].c[0]; }
  return out;
}
function pick(i, focus) {
  if (picked >= 0) {
    items[picked].classList.remove("on");
    $("button", items[picked]).setAttribute("aria-expanded", "false");
    $(".more", items[picked])?.remove();
  }
  if (i === picked && !focus) { picked = -1; point(); return; }
  picked = i;
  if (i < 0) { point(); return; }
  const e = items[i];
  e.classList.add("on");
  const button = $("button", e);
  button.setAttribute("aria-expanded", "true");
  const more = el("div", {className: "more"}), chain = chainOf(+e.dataset.id).slice(1);
  if (chain.length) {
    const ol = el("ol", {className: "chain"});
    ol.append(el("li", {textContent: "because"}));
    for (const id of chain) ol.append(link(id));
    more.append(ol);
  } else more.append(el("p", {className: "soft", textContent: e.dataset.unknown ? "Cause unknown: no rule found one, and none is guessed." : "This is where it starts."}));
  const about = [e.dataset.object, e.dataset.actor && "by " + e.dataset.actor, "entry " + e.dataset.id].filter(Boolean).join(" · ");
  more.append(el("small", {className: "soft", textContent: about}));
  e.append(more);
  if (focus) button.focus({preventScroll: true});
  inside(e);
  const t = D.entries[i].t;
  if (t < view.a || t > view.b) zoom(t - (view.b - view.a) / 2, t + (view.b - view.a) / 2);
  point();
}
function link(id) {
  const i = byID.get(id), b = el("button", {type: "button", textContent: clock(D.entries[i].t, true) + " " + $("b", items[i]).textContent});
  b.addEventListener("click", ev => { ev.stopPropagation(); pick(i, true); });
  return el("li", {}, b);
}
items.forEach((e, i) => {
  const b = $("button", e);
  b.addEventListener("click", () => pick(i));
  b.addEventListener("mouseenter", () => { cursor = D.entries[i].t; point(); });
  b.addEventListener("mouseleave", () => { cursor = null; point(); });
});
function filter() {
  list.dataset.min = $("#least").value;
  const text = $("#search").value.toLowerCase();
  for (const e of items) e.classList.toggle("off", text !== "" && !e.textContent.toLowerCase().includes(text) && !e.dataset.object.toLowerCase().includes(text));
  const shown = items.filter(e => e.offsetParent !== null).length;
  $("#shown").textContent = shown + " of " + items.length;
}
$("#least").addEventListener("change", filter);
$("#search").addEventListener("input", filter);
filter();
// The timeline opens at the first worst moment, not at the quiet beginning of the run.
const first = $$(".moments [data-entry]").map(b => byID.get(+b.dataset.entry)).filter(i => i !== undefined).sort((a, b) => a - b)[0];
if (first !== undefined) list.scrollTop += items[first].getBoundingClientRect().top - list.getBoundingClientRect().top - 40;

// ---- expectations and moments
for (const b of $$(".ex")) b.addEventListener("click", () => {
  const open = b.getAttribute("aria-expanded") === "true";
  for (const o of $$(".ex")) { o.setAttribute("aria-expanded", "false"); $("#" + o.getAttribute("aria-controls")).hidden = true; }
  if (!open) { b.setAttribute("aria-expanded", "true"); $("#" + b.getAttribute("aria-controls")).hidden = false; }
  const at = +b.dataset.entry;
  if (!open && byID.has(at)) { pick(byID.get(at)); }
});
for (const b of $$("[data-jump]")) b.addEventListener("click", () => { const i = byID.get(+b.dataset.jump); if (i !== undefined) pick(i, true); });
for (const b of $$(".moments [data-from]")) b.addEventListener("click", () => {
  zoom(+b.dataset.from, +b.dataset.to);
  const i = byID.get(+b.dataset.entry);
  if (i !== undefined) pick(i, true);
});

// ---- sparklines
for (const s of $$(".spark")) {
  const used = values(find("cpu_used_cores", "service", s.dataset.service)), can = values(find("cpu_capacity_cores", "service", s.dataset.service));
  if (!used || !can) continue;
  const n = used.length, g = svg("svg", {viewBox: "0 0 " + n + " 44", preserveAspectRatio: "none", "aria-hidden": "true"});
  let d = "M0 44";
  for (let j = 0; j < n; j++) { const u = Math.min(1, used[j] / can[indexOf(timeOf(j, n), can.length)]); d += "L" + j + " " + (43 - 41 * (isFinite(u) ? u : 0)).toFixed(1); }
  g.append(svg("line", {class: "lim", x1: 0, x2: n, y1: 2, y2: 2, "vector-effect": "non-scaling-stroke"}), svg("path", {d: d + "L" + n + " 44Z", fill: color(0), opacity: .55}));
  s.append(g);
}

// ---- keys, theme, size
$("#whole").addEventListener("click", () => zoom(T0, T1));
$("#in").addEventListener("click", () => scaleBy(.5));
$("#out").addEventListener("click", () => scaleBy(2));
function scaleBy(k) {
  const c = picked >= 0 && D.entries[picked].t >= view.a && D.entries[picked].t <= view.b ? D.entries[picked].t : (view.a + view.b) / 2, w = (view.b - view.a) * k;
  zoom(c - w / 2, c + w / 2);
}
function next(by) {
  let i = picked;
  do i += by; while (i >= 0 && i < items.length && !visible(i));
  if (picked < 0 && by < 0) { i = items.length - 1; while (i >= 0 && !visible(i)) i--; }
  if (i >= 0 && i < items.length) pick(i, true);
}
document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) return;
  const act = {ArrowLeft: () => next(-1), ArrowRight: () => next(1), "+": () => scaleBy(.5), "=": () => scaleBy(.5), "-": () => scaleBy(2), "0": () => zoom(T0, T1), "?": () => $("#help").showModal(), Escape: () => pick(-1)}[e.key];
  if (act && !$("#help").open) { e.preventDefault(); act(); }
});
$("#keys").addEventListener("click", () => $("#help").showModal());
$("#theme").addEventListener("click", () => {
  const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
const resized = new ResizeObserver(() => { for (const p of plots) if (p.box.clientWidth !== p.g.W || p.box.clientHeight !== p.g.H) p.draw(); });
for (const p of plots) resized.observe(p.box);
}));
