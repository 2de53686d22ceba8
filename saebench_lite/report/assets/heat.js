// One metric, subject by unit: which data sets, concepts or blocks of text make a score.

const HEAT_STEPS = 12;

function unitColumns() {
  return siteNow().columns.filter((column) => column.per_unit);
}

/** The metric whose units are shown: the one asked for, else the first of the preset that has units. */
function unitColumn(asked) {
  const columns = unitColumns();
  return columns.find((c) => c.key === asked) || chosenColumns().find((c) => c.per_unit) || columns[0];
}

function heatView() {
  const column = unitColumn(state.unit_metric);
  if (!column) return { node: h("p", { class: "empty" }, "These records hold no values by unit.") };
  const subjects = ordered(shownSubjects().filter((v) => column.per_unit.values[v.at]), column.key,
    bestFalls(column.key), false);
  const units = orderedUnits(column, subjects);
  const names = units.map((i) => column.per_unit.names[i]);
  const table = subjects.map((v) => units.map((i) => column.per_unit.values[v.at][i]));
  const known = table.flat().filter((v) => v !== null);
  const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const svg = heatMap(column, subjects, names, table, low, high);
  const options = unitColumns().map((c) => [c.key, `${c.label} ${c.arrow}`]);
  return {
    node: [
      h("div", { class: "row" }, select("Metric", "unit_metric", options, column.key, (v) => change({ unit_metric: v })),
        heatKey(low, high)),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores by unit" }, svg),
      h("p", { class: "muted" }, `${subjects.length} subjects, the best first, and ${names.length} units, by their mean over`
        + " subjects. A cell is a mean over seeds; darker is higher in light colours, lighter is higher in dark ones."
        + " Other metrics have unit values here if the page was made with --metrics all."),
    ],
    svg,
    sheet: {
      heads: ["subject", "kind", ...names],
      rows: subjects.map((v, i) => [v.name, v.kind, ...table[i]]),
      textHeads: ["subject", ...names],
      textRows: subjects.map((v, i) => [v.name, ...table[i].map((x) => (x === null ? "–" : String(x)))]),
      note: `${column.label}, ${siteNow().title}`,
    },
  };
}

/** Units by their mean over some subjects, the highest first. */
function orderedUnits(column, subjects) {
  const mean = column.per_unit.names.map((_, i) => {
    const values = subjects.map((v) => column.per_unit.values[v.at][i]).filter((x) => x !== null);
    return values.length ? values.reduce((a, b) => a + b, 0) / values.length : -Infinity;
  });
  return mean.map((_, i) => i).sort((a, b) => mean[b] - mean[a] || a - b);
}

function stepOf(value, low, high) {
  if (value === null) return "none";
  return high > low ? Math.min(HEAT_STEPS - 1, Math.floor(((value - low) / (high - low)) * HEAT_STEPS)) : HEAT_STEPS - 1;
}

function heatMap(column, subjects, names, table, low, high) {
  const left = Math.min(310, 24 + 7.3 * Math.max(4, ...subjects.map((v) => visible(v.name).length)));
  const size = Math.max(7, Math.min(34, Math.floor((plotWidth(1400) - left - 60) / Math.max(1, names.length))));
  const tall = 18;
  const labelled = size >= 11;
  const top = labelled ? Math.min(170, 14 + 4.8 * Math.max(4, ...names.map((n) => visible(n).length))) : 8;
  const width = left + names.length * size + 70;
  const height = top + subjects.length * tall + 10;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "plot heat", role: "img",
    "aria-label": `${column.label}: ${subjects.length} subjects by ${names.length} units` });
  if (labelled) {
    names.forEach((name, i) => svg.append(s("text", { class: "tick", "data-tip": name,
      transform: `translate(${left + (i + 0.5) * size + 3},${top - 6}) rotate(-50)` }, clipped(name, 28))));
  }
  subjects.forEach((subject, row) => {
    const y = top + row * tall;
    svg.append(s("text", { x: left - 8, y: y + 13, class: subject.kind === "sae" ? "tick strong" : "tick",
      "text-anchor": "end", "data-tip": `${subject.name} (${subject.kind})` }, clipped(subject.name, 40)));
    table[row].forEach((value, i) => svg.append(s("rect", { x: left + i * size, y, width: size - 1, height: tall - 1,
      class: `h${stepOf(value, low, high)}`, "data-tip": `${subject.name}, ${names[i]}: ${value === null ? "–" : value}` })));
  });
  return svg;
}

function heatKey(low, high) {
  const steps = Array.from({ length: HEAT_STEPS }, (_, i) => s("rect", { x: i * 12, y: 0, width: 12, height: 12, class: `h${i}` }));
  return h("span", { class: "key heat" }, tickText(Number(low.toPrecision(3))),
    s("svg", { viewBox: `0 0 ${12 * HEAT_STEPS} 12`, width: 12 * HEAT_STEPS, height: 12, "aria-hidden": "true" }, steps),
    tickText(Number(high.toPrecision(3))));
}

function clipped(text, most) {
  const shown = visible(text);
  return shown.length > most ? `${shown.slice(0, most - 1)}…` : shown;
}
