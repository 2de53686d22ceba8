// Two subjects side by side: what the paired tests say, and the difference in each unit.

function compareView() {
  const site = siteNow();
  const saes = site.subjects.filter((v) => v.kind === "sae");
  const find = (name) => site.subjects.find((v) => v.name === name);
  const pool = saes.length > 1 ? saes : site.subjects;
  const a = find(state.a) || pool[0];
  const b = find(state.b) || pool.find((v) => v !== a) || a;
  const groups = KINDS.map((kind) => [KIND_NAMES[kind], site.subjects.filter((v) => v.kind === kind).map((v) => [v.name, v.name])])
    .filter(([, options]) => options.length);
  const picks = h("div", { class: "row" },
    select("A", "a", groups, a.name, (name) => change({ a: name, b: b.name })),
    select("B", "b", groups, b.name, (name) => change({ a: a.name, b: name })),
    h("button", { type: "button", "data-focus": "swap", onclick: () => change({ a: b.name, b: a.name }) }, "Swap"));
  if (a === b) return { node: [picks, h("p", { class: "empty" }, "A and B are the same subject.")] };
  const found = pairsOf(a, b);
  const column = unitColumn(state.compared);
  const units = column ? unitDifferences(column, a, b) : [];
  const svg = units.length ? differencePlot(column, units, a, b) : null;
  const options = unitColumns().map((c) => [c.key, `${c.label} ${c.arrow}`]);
  const of = found.find((row) => row.column === column);
  return {
    node: [picks, sizesOf(a, b), found.length ? pairTable(found, a, b) : noPairs(a, b),
      column ? h("div", { class: "row" }, select("Differences per unit", "compared", options, column.key,
        (v) => change({ compared: v }))) : null,
      svg ? [svg, h("p", { class: "muted" }, differenceNote(units, of))] : h("p", { class: "empty" },
        "The two have no unit of this metric in common.")],
    svg,
    sheet: compareSheet(found, units, a, b, column),
  };
}

/** What the page holds of a pair: rows of {column, difference, p, decided, won, tied, lost, units, more, mrd}. */
function pairsOf(a, b) {
  const site = siteNow();
  const out = [];
  for (const [i, j, at, forth, back, p, decided, won, tied, lost, units, more, mrd] of site.pairs.rows) {
    const same = i === a.at && j === b.at;
    if (!same && !(i === b.at && j === a.at)) continue;
    out.push({ column: site.columns[at], difference: same ? forth : back, p, decided, won: same ? won : lost, tied,
      lost: same ? lost : won, units, more, mrd });
  }
  return out;
}

function sizesOf(a, b) {
  const size = (v) => `${v.name}: d_sae ${v.width_text || "–"}, L0 ${v.l0_text || "–"}`;
  return h("p", { class: "muted" }, `A is ${size(a)}. B is ${size(b)}.`);
}

/** Which of the two is better, or what would be needed to tell. */
function decision(row) {
  if (row.column.better === "neither") return "no direction";
  if (row.decided === null) return "too few units";
  if (row.decided) {
    const positive = !row.difference.startsWith("-");
    if (row.column.better === "one") return "decided";
    return positive === (row.column.better === "higher") ? "A is better" : "B is better";
  }
  return row.more ? `undecided; needs ${row.more} units` : "undecided";
}

function pairTable(found, a, b) {
  const heads = ["metric", "A", "B", "A minus B [95 %]", "p (Holm)", "", "won / tied / lost", "MRD"];
  const body = found.map((row) => h("tr", {}, h("th", { scope: "row" }, `${row.column.label} ${row.column.arrow}`, " ",
    verdictTag(row.column)),
  [a, b].map((v) => h("td", { class: "number" }, row.column.text[v.at].split(" ")[0])),
  h("td", { class: "number" }, row.difference), h("td", { class: "number" }, row.p),
  h("td", { class: decision(row).endsWith("better") ? "left strong" : "left muted" }, decision(row)),
  h("td", { class: "number" }, `${row.won} / ${row.tied} / ${row.lost}`), h("td", { class: "number" }, row.mrd || "–")));
  return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Paired differences" },
    h("table", { class: "pairs" }, h("thead", {}, h("tr", {}, heads.map((x) => h("th", { scope: "col" }, x || h("span",
      { class: "hidden" }, "decision"))))), h("tbody", {}, body))),
  h("p", { class: "muted" }, "Differences over the units and seeds that both have, so that they may not be"
    + " those of the two scores, in the metric's own sign; p by bootstrap-t (of one"
    + ` unit by its test texts; of 2 to ${siteNow().pairs.least - 1} units none, and intervals over their own test texts, where`
    + " their errors are known), Holm over the rows (those of the same values count once). Needs: so many units would"
    + " show it at 5 % with a chance of 80 %, were the true difference the observed one and this the only test. MRD: least"
    + " difference that new seeds and test texts do not explain; below it more seeds help too. SAEs of"
    + " another L0 or width differ in these scores for that alone.")];
}

function noPairs(a, b) {
  const held = siteNow().pairs.subjects.length;
  const quoted = (name) => `'${name.replace(/'/g, "'\\''")}'`;
  return h("p", {}, `This page holds paired tests of the first ${held} SAEs by rank. For these two: `,
    h("code", {}, `saebench-lite compare ${quoted(a.name)} ${quoted(b.name)} FOLDER`));
}

function unitDifferences(column, a, b) {
  const [x, y] = [column.per_unit.values[a.at], column.per_unit.values[b.at]];
  if (!x || !y) return [];
  return column.per_unit.names.map((name, i) => ({ name, a: x[i], b: y[i], d: x[i] - y[i] }))
    .filter((unit) => unit.a !== null && unit.b !== null).sort((p, q) => q.d - p.d);
}

function differencePlot(column, units, a, b) {
  const width = plotWidth();
  const left = Math.min(width * 0.42, 20 + 6.2 * Math.max(...units.map((u) => clipped(u.name, 40).length)));
  const tall = 17;
  const height = 34 + units.length * tall + 44;
  const x = scaleOf([0, ...units.map((u) => u.d)], left, width - 16, false, Math.round((width - left) / 90));
  const bottom = height - 44;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot", role: "img",
    "aria-label": `${column.label}, ${a.name} minus ${b.name}, in ${units.length} units` },
  x.ticks.map((v) => s("line", { x1: x.at(v), x2: x.at(v), y1: 24, y2: bottom, class: v === 0 ? "axis" : "grid" })),
  x.ticks.map((v) => s("text", { x: x.at(v), y: bottom + 16, class: "tick", "text-anchor": "middle" }, tickText(v))),
  s("text", { x: 0, y: 14, class: "name" }, `${column.label} ${column.arrow}`),
  s("text", { x: width - 16, y: height - 8, class: "name", "text-anchor": "end" }, "A minus B"));
  units.forEach((unit, i) => {
    const y = 34 + i * tall;
    const tip = `${unit.name}: A ${unit.a}, B ${unit.b}`;
    svg.append(s("g", { "data-tip": tip },
      s("rect", { x: 0, y: y - tall / 2, width, height: tall, class: "clear" }),
      s("text", { x: left - 10, y: y + 4, class: "tick", "text-anchor": "end" }, clipped(unit.name, 40)),
      s("line", { x1: x.at(0), x2: x.at(unit.d), y1: y, y2: y, class: "stem" }),
      s("circle", { cx: x.at(unit.d), cy: y, r: 4, class: "dot" })));
  });
  return svg;
}

function differenceNote(units, row) {
  const above = units.filter((u) => u.d > 0).length;
  const all = `A is above B in ${above} of ${units.length} units, seeds averaged.`;
  return row ? `${all} Mean difference ${row.difference}: ${decision(row)}.` : all;
}

function compareSheet(found, units, a, b, column) {
  const rows = [
    ...found.map((r) => ["metric", r.column.label, r.column.value[a.at], r.column.value[b.at], r.difference, r.p, decision(r)]),
    ...units.map((u) => ["unit", u.name, u.a, u.b, Number(u.d.toPrecision(4)), null, column.label]),
  ];
  return {
    heads: ["row", "name", a.name, b.name, "difference", "p_holm", "note"],
    rows,
    textHeads: ["metric", a.name, b.name, "difference", "p (Holm)", ""],
    textRows: found.map((r) => [r.column.label, r.column.text[a.at], r.column.text[b.at], r.difference, r.p, decision(r)]),
    note: siteNow().title,
  };
}
