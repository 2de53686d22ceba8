// Axes, scales and marks that the plots share.

/** Colours that the style sheet names `c0` to `c5`: Okabe and Ito's (2008), told apart by colour-blind readers too. */
const TONES = 6;

const SHAPES = {
  circle: (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  square: (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: (r) => `M0,${-1.2 * r}L${1.1 * r},${0.8 * r}H${-1.1 * r}Z`,
  diamond: (r) => `M0,${-1.35 * r}L${1.35 * r},0L0,${1.35 * r}L${-1.35 * r},0Z`,
  down: (r) => `M0,${1.2 * r}L${1.1 * r},${-0.8 * r}H${-1.1 * r}Z`,
  bar: (r) => `M${-0.5 * r},${-1.3 * r}h${r}v${2.6 * r}h${-r}Z`,
  plus: (r) => `M${-r},0H${r}M0,${-r}V${r}`,
  cross: (r) => `M${-r},${-r}L${r},${r}M${-r},${r}L${r},${-r}`,
};

const SAE_SHAPES = ["circle", "square", "triangle", "diamond", "down", "bar"];

const KIND_SHAPES = { control: "cross", "dictionary baseline": "square", baseline: "plus", oracle: "circle" };

/** Name, shape and colour class of a subject's group: an architecture, or a kind that is no SAE; in order of `rank`. */
function look(subject) {
  if (subject.kind !== "sae") {
    return { name: subject.kind, shape: KIND_SHAPES[subject.kind], tone: "reference", rank: 99 + KINDS.indexOf(subject.kind) };
  }
  const at = Math.max(0, levels("architecture").indexOf(subject.architecture || ""));
  return { name: subject.architecture || "SAE", shape: SAE_SHAPES[at % SAE_SHAPES.length], tone: `c${at % TONES}`, rank: at };
}

/** The sign of a group; it takes its colour from the class `tone` of what it stands in. */
function markOf(style, r = 5) {
  return s("path", { d: SHAPES[style.shape](r), class: style.tone === "reference" ? "mark hollow" : "mark" });
}

/** A legend of the groups among some subjects, with further entries [node, text]. */
function legend(subjects, more = []) {
  const groups = new Map(subjects.map((x) => [look(x).name, look(x)]));
  const sign = (node, tone) => s("svg", { viewBox: "-9 -9 18 18", class: `sign ${tone}`, "aria-hidden": "true" }, node);
  const sorted = [...groups.values()].sort((a, b) => a.rank - b.rank);
  return h("ul", { class: "legend" }, sorted.map((style) => h("li", {}, sign(markOf(style), style.tone), style.name)),
    more.map(([node, text]) => h("li", {}, sign(node, ""), text)));
}

/** Round numbers from low to high, about `count` of them. */
function linearTicks(low, high, count) {
  const raw = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((x) => x >= raw * 0.999);
  const out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(Number((i * step).toPrecision(12)));
  return out;
}

/** Ticks of a logarithmic axis: 1, 2, 5 per decade, or powers of ten where there are many decades. */
function logTicks(low, high) {
  const steps = Math.log10(high / low) > 3 ? [1] : Math.log10(high / low) > 0.7 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9];
  const out = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++) {
    for (const m of steps) {
      const tick = Number((m * 10 ** p).toPrecision(12));
      if (tick >= low * 0.999 && tick <= high * 1.001) out.push(tick);
    }
  }
  return out.length >= 2 ? out : linearTicks(low, high, 4);
}

function tickText(v) {
  const size = Math.abs(v);
  return size >= 1e5 || (size > 0 && size < 1e-3) ? v.toExponential(0) : String(v);
}

/** A scale from data to pixels: {at, ticks, log}; logarithmic only where all values are positive. */
function scaleOf(values, from, to, log, count) {
  const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const logarithmic = log && low > 0;
  const f = logarithmic ? Math.log : (v) => v;
  const pad = high > low ? 0.06 * (f(high) - f(low)) : Math.max(0.5, Math.abs(f(high)) * 0.1);
  const [a, b] = [f(low) - pad, f(high) + pad];
  [low, high] = logarithmic ? [Math.exp(a), Math.exp(b)] : [a, b];
  const at = (v) => from + ((f(v) - a) / (b - a)) * (to - from);
  return { at, log: logarithmic, ticks: logarithmic ? logTicks(low, high) : linearTicks(low, high, count), low, high };
}

/** Width for a plot: that of the page, within bounds. */
function plotWidth(most = 960) {
  return Math.max(300, Math.min(most, document.getElementById("main").clientWidth - 2));
}

/** An SVG with axes, gridlines and axis names: {svg, x, y, box}. `xs`, `ys`: {values, name, log, ticks}. */
function axes(width, height, xs, ys, label) {
  const box = { left: 62, right: width - 14, top: 26, bottom: height - 46 };
  const x = scaleOf(xs.values, box.left, box.right, xs.log, Math.round(width / 110));
  const y = scaleOf(ys.values, box.bottom, box.top, ys.log, Math.round(height / 70));
  const across = xs.ticks || x.ticks;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot", role: "group", "aria-label": label },
    y.ticks.map((v) => s("line", { x1: box.left, x2: box.right, y1: y.at(v), y2: y.at(v), class: "grid" })),
    s("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis" }),
    across.map((v) => s("line", { x1: x.at(v), x2: x.at(v), y1: box.bottom, y2: box.bottom + 4, class: "axis" })),
    across.map((v) => s("text", { x: x.at(v), y: box.bottom + 18, class: "tick", "text-anchor": "middle" }, tickText(v))),
    y.ticks.map((v) => s("text", { x: box.left - 8, y: y.at(v) + 4, class: "tick", "text-anchor": "end" }, tickText(v))),
    s("text", { x: box.left - 54, y: 14, class: "name" }, ys.name + (y.log ? " (log)" : "")),
    s("text", { x: box.right, y: height - 8, class: "name", "text-anchor": "end" }, xs.name + (x.log ? " (log)" : "")));
  return { svg, x, y, box };
}

/** Makes a mark of a subject one that can be focused, pointed at and opened. */
function interactive(node, subject, tip, column) {
  const open = () => openDetails(subject, column || null);
  return s("g", { tabindex: "0", role: "button", class: "hit", "data-tip": tip, "aria-label": tip,
    "data-focus": `point-${subject.name}`, onclick: open,
    onkeydown: (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); open(); } } }, node);
}
