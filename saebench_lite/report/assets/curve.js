// A score over the number of latents that a probe may read, and how often latents fire.

/** Metrics that differ in nothing but k: name -> [k, column], by k. */
function families() {
  const found = new Map();
  for (const column of siteNow().columns) {
    const parts = column.metric.match(/^(.*_k)(\d+)(_.*)?$/);
    if (!parts) continue;
    const name = `${column.task}${column.variant ? ` [${column.variant}]` : ""} ${parts[1]}*${parts[3] || ""}`;
    if (!found.has(name)) found.set(name, []);
    found.get(name).push([Number(parts[2]), column]);
  }
  const several = [...found].filter(([, columns]) => columns.length > 1);
  several.forEach(([, columns]) => columns.sort((a, b) => a[0] - b[0]));
  return several;
}

function curveView() {
  const all = families();
  const usual = all.find(([, columns]) => columns.some(([, c]) => chosenColumns().includes(c))) || all[0];
  const [name, columns] = all.find(([known]) => known === state.family) || usual || ["", []];
  if (!columns.length) return { node: h("p", { class: "empty" }, "No metric here is scored at several k.") };
  const subjects = shownSubjects().filter((v) => columns.some(([, c]) => c.value[v.at] !== null));
  const values = subjects.flatMap((v) => columns.flatMap(([, c]) => [c.value[v.at], c.low[v.at], c.high[v.at]]));
  const width = plotWidth();
  const { svg, x, y } = axes(width, Math.max(320, Math.min(520, Math.round(width * 0.6))),
    { values: columns.map(([k]) => k), name: "k, latents that the probe reads", log: true, ticks: columns.map(([k]) => k) },
    { values, name: `${name} ${columns[0][1].arrow}`, log: false }, `${name} over k`);
  for (const subject of [...subjects].sort((a, b) => (a.kind === "sae") - (b.kind === "sae"))) {
    svg.append(curveOf(subject, columns, x, y));
  }
  const options = all.map(([known]) => [known, known]);
  return {
    node: [h("div", { class: "row" }, select("Metric", "family", options, name, (family) => change({ family }))), svg,
      legend(subjects), h("p", { class: "muted" }, "Raw scores. Point at a line, or tab to it, for its subject and its"
        + " 95 % intervals. Baselines and controls are thin and grey.")],
    svg,
    sheet: curveSheet(subjects, columns),
  };
}

function curveOf(subject, columns, x, y) {
  const style = look(subject);
  const known = columns.filter(([, c]) => c.value[subject.at] !== null);
  const at = ([k, c]) => `${x.at(k).toFixed(1)},${y.at(c.value[subject.at]).toFixed(1)}`;
  const whiskers = known.filter(([, c]) => c.low[subject.at] !== null).map(([k, c]) => s("line", { x1: x.at(k), x2: x.at(k),
    y1: y.at(c.low[subject.at]), y2: y.at(c.high[subject.at]), class: "whisker" }));
  const marks = known.map((each) => s("g", { transform: `translate(${at(each)})` }, markOf(style, 3.5)));
  const tip = `${subject.name}: ${known.map(([k, c]) => `k ${k} ${c.text[subject.at]}`).join(", ")}`;
  const path = known.map(at).join(" ");
  return interactive(s("g", { class: `curve ${style.tone}` }, s("polyline", { points: path, class: "wide" }), whiskers,
    s("polyline", { points: path, class: "line" }), marks), subject, tip, null);
}

function curveSheet(subjects, columns) {
  const ks = columns.map(([, c]) => c.metric);
  return {
    heads: ["subject", "kind", ...ks.flatMap((name) => [name, `${name} low`, `${name} high`])],
    rows: subjects.map((v) => [v.name, v.kind, ...columns.flatMap(([, c]) => [c.value[v.at], c.low[v.at], c.high[v.at]])]),
    textHeads: ["subject", ...ks],
    textRows: subjects.map((v) => [v.name, ...columns.map(([, c]) => c.text[v.at])]),
    note: siteNow().title,
  };
}

/** How often a subject's latents fire: {dead, latents, log10_edges}; undefined where no record tells. */
function densityOf(subject) {
  const records = siteNow().columns.map((column) => recordOf(subject, column));
  const record = records.find((r) => r && r.density);
  return record && record.density;
}

function densityView() {
  const subjects = shownSubjects().filter(densityOf);
  if (!subjects.length) return { node: h("p", { class: "empty" }, "No record of these subjects holds a histogram.") };
  const share = (d) => d.latents.map((n) => n / (d.silent + d.latents.reduce((a, b) => a + b, 0)));
  const saes = subjects.filter((v) => v.kind === "sae");
  const highest = Math.max(...(saes.length ? saes : subjects).flatMap((v) => share(densityOf(v))));
  const width = plotWidth(1200);
  const across = Math.max(1, Math.floor(width / 230));
  const [w, tall] = [Math.floor(width / across), 132];
  const svg = s("svg", { viewBox: `0 0 ${width} ${Math.ceil(subjects.length / across) * tall}`, width,
    height: Math.ceil(subjects.length / across) * tall, class: "plot", role: "group", "aria-label": "Firing frequencies" },
  subjects.map((subject, i) => s("g", { transform: `translate(${(i % across) * w},${Math.floor(i / across) * tall})` },
    histogram(subject, share(densityOf(subject)), highest, w - 24))));
  const first = densityOf(subjects[0]);
  const names = first.latents.map((_, i) => `10^${first.log10_edges[i]} to 10^${first.log10_edges[i + 1]}`);
  const rows = subjects.map((v) => [v.name, densityOf(v).silent, ...densityOf(v).latents]);
  return {
    node: [svg, h("p", { class: "muted" }, "Share of latents by how often they fire, as a share of tokens, in half decades."
      + " All panels have one scale, that of the SAEs: higher bars are cut. Silent latents never fire and are not drawn.")],
    svg,
    sheet: { heads: ["subject", "silent", ...names], rows, textHeads: ["subject", "silent", ...names],
      textRows: rows.map((row) => row.map(String)), note: siteNow().title },
  };
}

/** A power of ten with its exponent raised. */
function power(exponent) {
  const raised = String(exponent).replace(/[-\d]/g, (c) => (c === "-" ? "\u207b" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
  return exponent === 0 ? "1" : `10${raised}`;
}

function histogram(subject, shares, highest, width) {
  const density = densityOf(subject);
  const edges = density.log10_edges;
  const x = (v) => ((v - edges[0]) / (edges[edges.length - 1] - edges[0])) * width;
  const y = (v) => 100 - 68 * Math.min(1, v / highest);
  const style = look(subject);
  const bars = shares.map((v, i) => s("rect", { x: x(edges[i]), y: y(v), width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 1),
    height: 100 - y(v), class: "bar" }));
  const ticks = edges.filter((edge) => Number.isInteger(edge) && edge % 2 === 0);
  const tip = `${subject.name}: ${density.silent} silent, ${density.latents.join(", ")} latents in the bins`;
  const drawn = s("g", {}, s("rect", { x: 0, y: 0, width, height: 100, class: "clear" }), bars);
  return s("g", { class: style.tone }, interactive(drawn, subject, tip, null),
    s("line", { x1: 0, x2: width, y1: 100, y2: 100, class: "axis" }),
    ticks.map((edge) => s("text", { x: x(edge), y: 114, class: "tick", "text-anchor": edge === edges[0] ? "start"
      : edge === 0 ? "end" : "middle" }, power(edge))),
    s("text", { x: 0, y: 13, class: "tick strong" }, clipped(subject.name, Math.floor(width / 6.8))),
    density.silent ? s("text", { x: 0, y: 26, class: "tick" }, `${density.silent} silent`) : null);
}
