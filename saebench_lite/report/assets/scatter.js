// Any metric against any other: SAEs as points, what has no place on the x axis as a line with a band.

function scatterView() {
  const calibrated = state.scale === "calibrated";
  const get = (subject, key) => scoreOf(subject, key, calibrated);
  const has = (score) => score.value !== null && score.value !== undefined;
  const subjects = shownSubjects().filter((v) => has(get(v, state.y)) && (has(get(v, state.x)) || v.kind !== "sae"));
  const far = state.far ? [] : farReferences(subjects, get);
  const near = subjects.filter((v) => !far.includes(v));
  const points = near.filter((v) => has(get(v, state.x)));
  const lines = near.filter((v) => !has(get(v, state.x)));
  const ends = (list, key) => list.map((v) => get(v, key)).flatMap((v) => [v.value, v.low, v.high]);
  const width = plotWidth();
  const { svg, x, y, box } = axes(width, Math.max(300, Math.min(520, Math.round(width * 0.62))),
    { values: ends(points, state.x), name: axisName(state.x), log: state.xlog },
    { values: ends(near, state.y), name: axisName(state.y), log: state.ylog },
    `${axisName(state.y)} against ${axisName(state.x)}`);
  const column = columnOf(state.y);
  let above = -Infinity;
  for (const subject of [...lines].sort((a, b) => get(b, state.y).value - get(a, state.y).value)) {
    const score = get(subject, state.y);
    above = Math.max(above + 13, y.at(score.value) - 4);
    svg.append(referenceLine(subject, score, y, box, above));
  }
  const front = hasFront(column);
  const pale = (v) => front && v.kind === "sae" && column.front[v.at] === false;
  for (const v of [...points].sort((a, b) => (a.kind === "sae") - (b.kind === "sae") || pale(b) - pale(a))) {
    svg.append(point(v, get(v, state.x), get(v, state.y), x, y, column, pale(v)));
  }
  const more = front ? [[s("g", { class: "pale" }, markOf({ shape: "circle" })), "pale: dominated"]] : [];
  const left = far.map((v) => `${v.name} (${get(v, state.x).text || "–"}; ${get(v, state.y).text})`).join(", ");
  return {
    node: [scatterControls(x, y), svg, legend(points, more),
      h("p", { class: "muted" }, frontNote(front), ` Whiskers are 95 % intervals, over own test texts where units are fewer than ${siteNow().pairs.least}.`, lines.length
        ? ` Lines with bands: subjects without a value of ${axisName(state.x)}.` : "",
      far.length ? ` Too far from the SAEs to be drawn (x; y): ${left}.` : "")],
    svg,
    sheet: pairSheet(subjects, get),
  };
}

/** Baselines and controls that lie further from the SAEs than the SAEs' own range, on either axis. */
function farReferences(subjects, get) {
  const saes = subjects.filter((v) => v.kind === "sae");
  const far = new Set();
  for (const [key, log] of [[state.x, state.xlog], [state.y, state.ylog]]) {
    const ends = saes.map((v) => get(v, key)).flatMap((v) => [v.value, v.low, v.high])
      .filter((v) => v !== null && v !== undefined);
    if (!ends.length) continue;
    const f = log && Math.min(...ends) > 0 ? (v) => Math.log(Math.max(v, 1e-12)) : (v) => v;
    const [low, high] = [f(Math.min(...ends)), f(Math.max(...ends))];
    for (const v of subjects) {
      const { value } = get(v, key);
      if (v.kind === "sae" || value === null || value === undefined) continue;
      if (f(value) < 2 * low - high || f(value) > 2 * high - low) far.add(v);
    }
  }
  return [...far];
}

function scatterControls(x, y) {
  const options = axisOptions();
  return h("div", { class: "row" },
    select("y axis", "y", options, state.y, (v) => change({ y: v })),
    select("x axis", "x", options, state.x, (v) => change({ x: v })),
    chip("log x", "xlog", state.xlog, (v) => change({ xlog: v })),
    chip("log y", "ylog", state.ylog, (v) => change({ ylog: v })),
    chip("far references too", "far", state.far, (v) => change({ far: v })),
    (state.xlog && !x.log) || (state.ylog && !y.log)
      ? h("span", { class: "muted" }, "Not all values are positive: that axis is linear.") : null);
}

/** Whether the records tell which SAEs others dominate in what is shown. */
function hasFront(column) {
  return state.x === "l0" && state.scale === "raw" && Boolean(column && column.front) && column.front.includes(true);
}

function frontNote(front) {
  return front
    ? "Dominated: an SAE with no more active latents is significantly better (one-sided paired tests over units, step-down"
      + " over all pairs, at a nominal 3 %); the others are the front."
    : "Which SAEs others dominate is shown for raw scores of fidelity over L0.";
}

function referenceLine(subject, score, y, box, labelled) {
  const tip = `${subject.name} (${subject.kind}): ${score.text}`;
  const band = score.low === null ? null : s("rect", { x: box.left, width: box.right - box.left, y: y.at(score.high),
    height: Math.max(1, y.at(score.low) - y.at(score.high)), class: "band" });
  return interactive(s("g", {}, band,
    s("line", { x1: box.left, x2: box.right, y1: y.at(score.value), y2: y.at(score.value), class: "reference-line" }),
    s("text", { x: box.right - 4, y: labelled, class: "label", "text-anchor": "end" }, subject.name)), subject, tip,
  columnOf(state.y));
}

function point(subject, sx, sy, x, y, column, pale) {
  const style = look(subject);
  const [px, py] = [x.at(sx.value), y.at(sy.value)];
  const whiskers = [
    sy.low === null ? null : s("line", { x1: px, x2: px, y1: y.at(sy.low), y2: y.at(sy.high), class: "whisker" }),
    sx.low === null ? null : s("line", { x1: x.at(sx.low), x2: x.at(sx.high), y1: py, y2: py, class: "whisker" }),
  ];
  const mark = s("g", { transform: `translate(${px.toFixed(1)},${py.toFixed(1)})` }, markOf(style));
  const tip = `${subject.name}${pale ? " (dominated)" : ""}: ${axisName(state.x)} ${sx.text}, ${axisName(state.y)} ${sy.text}`;
  return interactive(s("g", { class: pale ? `${style.tone} pale` : style.tone }, whiskers, mark), subject, tip, column);
}

function pairSheet(subjects, get) {
  const heads = [axisName(state.x), axisName(state.y)];
  const texts = subjects.map((v) => [v.name, v.kind, get(v, state.x).text || "–", get(v, state.y).text]);
  return {
    heads: ["subject", "kind", ...heads.flatMap((name) => [name, `${name} low`, `${name} high`])],
    rows: subjects.map((v) => [v.name, v.kind, ...[state.x, state.y].flatMap((key) =>
      [get(v, key).value, get(v, key).low, get(v, key).high])]),
    textHeads: ["subject", "kind", ...heads],
    textRows: texts,
    note: siteNow().title,
  };
}
