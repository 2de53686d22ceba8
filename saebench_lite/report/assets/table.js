// The table: subjects down, sizes, places and metrics across.

const PLACE_HEADS = {
  control: ["vs control", "+: significantly better than its control"],
  baseline: ["vs baseline", "below: the best supervised baseline is significantly better"],
  rank: ["rank", "Among the SAEs, a 95 % interval; tied with best: no SAE is significantly better"],
  "better than": ["better than", "SAEs that this one is certainly better than; ~ likely better than"],
};

function tableView() {
  const columns = chosenColumns();
  const rows = tableRows(columns);
  const placed = placedColumn(columns);
  const heads = placed ? Object.keys(PLACE_HEADS).filter((head) => placed.places[head].some(Boolean)) : [];
  const front = presetNow().name === "fidelity" && siteNow().subjects.some((x) => x.dominated);
  const sized = SIZES.filter(([key]) => siteNow().subjects.some((x) => x[key] !== null));
  const spans = columns.map((column) => spanOf(column, rows));
  const top = h("tr", {}, sortHead("name", "subject", "", "left"),
    sized.map(([key, name]) => sortHead(key, name, "")),
    heads.map((head) => h("th", { scope: "col", class: "left" },
      h("span", { tabindex: "0", "data-tip": `By ${placed.label}. ${PLACE_HEADS[head][1]}` }, PLACE_HEADS[head][0]))),
    front ? h("th", { scope: "col", class: "left" }, "dominated by") : null,
    columns.map(metricHead));
  const body = rows.map((subject) => h("tr", { class: subject.kind === "sae" ? null : "reference" },
    h("th", { scope: "row" }, h("div", { class: "subject" }, subjectButton(subject))),
    sized.map(([key]) => h("td", { class: "number" }, subject[`${key}_text`])),
    heads.map((head) => h("td", { class: "left" }, placed.places[head][subject.at])),
    front ? h("td", { class: "left" }, subject.dominated) : null,
    columns.map((column, i) => scoreCell(subject, column, spans[i]))));
  const tied = columns.some((column) => column.tied && column.tied.some(Boolean) && state.scale === "raw");
  const count = `${rows.length} of ${siteNow().subjects.length} subjects`;
  announce(count);
  const caption = h("caption", {}, h("span", {}, count, heads.length ? `; ${heads.map((head) => PLACE_HEADS[head][0])
    .join(", ")}: by ${placed.label}` : "", tied ? "; bold: tied with the best SAE of the column" : ""));
  const node = h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Leaderboard" },
    h("table", { class: "board" }, caption, h("thead", {}, top), h("tbody", {}, body)));
  return { node: rows.length ? node : [node, h("p", { class: "empty" }, "No subject passes the filters.")],
    sheet: tableSheet(columns, rows, placed, heads, sized) };
}

function announce(text) {
  const place = document.getElementById("status");
  if (place.textContent !== text) place.textContent = text;
}

function sortHead(key, name, above, side = "") {
  const sorted = state.sort === key;
  const down = sorted ? !state.down : bestFalls(key);
  const order = sorted ? (state.down ? "descending" : "ascending") : "none";
  const mark = sorted ? (state.down ? "▾" : "▴") : "";
  return h("th", { scope: "col", class: side, "aria-sort": order },
    above ? h("span", { class: "muted" }, above) : null,
    h("button", { type: "button", class: "sort", "data-focus": `sort-${key}`,
      onclick: () => change({ sort: key, down }) }, breakable(name), h("span", { class: "sorted", "aria-hidden": "true" }, mark)));
}

/** A name that may be broken after its underscores, if it is long, and never before its arrow. */
function breakable(name) {
  return name.length < 12 ? name : name.replace(" ", "\u00a0").split(/(?<=_)/).map((part) => [part, h("wbr")]);
}

function metricHead(column) {
  const task = column.variant ? `${column.task} [${column.variant}]` : column.task;
  const head = sortHead(column.key, `${column.metric} ${column.arrow}`, task);
  const scaled = state.scale === "calibrated" && column.calibrated;
  const tags = [verdictTag(column)];
  if (scaled) {
    const tip = `0 is ${column.calibrated.zero}, 1 is ${column.calibrated.one}`;
    tags.push(h("span", { class: "tag", tabindex: "0", "data-tip": tip }, "calibrated"));
  } else if (state.scale === "calibrated") tags.push(h("span", { class: "tag" }, "raw"));
  head.append(h("span", { class: "tags" }, tags.filter(Boolean)));
  head.querySelector("button").dataset.tip = [column.meaning, column.summary].filter(Boolean).join(" — ");
  return head;
}

/** The audit's verdict on a metric; its reason shows when it is pointed at or has the focus. */
function verdictTag(column) {
  if (!column.verdict) return null;
  return h("span", { class: `tag ${column.verdict}`, tabindex: "0", role: "img", "data-tip": column.reason,
    "aria-label": column.reason }, column.verdict);
}

function subjectButton(subject) {
  const kind = subject.kind === "sae" ? null : h("span", { class: "kind", "data-tip": subject.kind }, subject.kind);
  return [h("button", { type: "button", class: "name", "data-focus": `subject-${subject.name}`,
    onclick: () => openDetails(subject, null) }, subject.name.split(/(?<=_)/).map((part) => [part, h("wbr")])), kind];
}

/** Least and greatest value, with intervals, of the SAEs among a column's rows; of all rows where there is no SAE. */
function spanOf(column, rows) {
  const saes = rows.filter((x) => x.kind === "sae");
  const scores = (saes.length ? saes : rows).map((x) => scoreOf(x, column.key, state.scale === "calibrated"));
  const known = scores.flatMap((x) => [x.value, x.low, x.high]).filter((v) => v !== null && v !== undefined);
  return known.length ? [Math.min(...known), Math.max(...known)] : null;
}

function scoreCell(subject, column, span) {
  const score = scoreOf(subject, column.key, state.scale === "calibrated");
  const record = recordOf(subject, column);
  const attributes = { class: "number", onclick: () => record && openDetails(subject, column) };
  if (score.value === null || score.value === undefined) {
    const reason = record && record.reason;
    return h("td", { ...attributes, class: "number muted" },
      reason ? h("span", { tabindex: "0", role: "img", "data-tip": reason, "aria-label": `${score.text}: ${reason}` }, score.text)
        : score.text || "–");
  }
  const [value, ...interval] = score.text.split(" ");
  const best = state.scale === "raw" && column.tied && column.tied[subject.at];
  return h("td", attributes, best ? h("strong", {}, value) : value,
    h("span", { class: "interval" }, interval.length ? ` ${interval.join(" ")}` : ""), strip(score, span));
}

/** A score and its interval as a dot on a line, on the scale of the column's SAEs; hollow at an end if it lies outside. */
function strip(score, span) {
  if (!span) return null;
  const [low, high] = span;
  const place = (v) => (high > low ? 3 + (94 * (v - low)) / (high - low) : v === low ? 50 : v < low ? -1 : 101);
  const at = (v) => Math.min(97, Math.max(3, place(v))).toFixed(1);
  const outside = place(score.value) < 2.9 || place(score.value) > 97.1;
  const line = score.low === null ? null
    : s("line", { x1: at(score.low), x2: at(score.high), y1: 3, y2: 3, class: "whisker" });
  return s("svg", { viewBox: "0 0 100 6", class: "strip", "aria-hidden": "true" }, line,
    s("circle", { cx: at(score.value), cy: 3, r: 2.4, class: outside ? "dot outside" : "dot" }));
}

/** The table as a sheet: raw numbers for CSV and JSON, texts for LaTeX. */
function tableSheet(columns, rows, placed, heads, sized) {
  const calibrated = state.scale === "calibrated";
  const name = (column) => column.label + (calibrated && column.calibrated ? " calibrated" : "");
  const site = siteNow();
  const places = heads.map((head) => `${placed.label} ${head}`);
  const numbers = columns.flatMap((c) => [name(c), `${name(c)} low`, `${name(c)} high`]);
  const scores = (subject) => columns.map((column) => scoreOf(subject, column.key, calibrated));
  return {
    heads: ["model", "hook", "data", "subject", "kind", "architecture", "d_sae", "l0", ...places, ...numbers],
    rows: rows.map((x) => [site.model, site.hook, site.data.name, x.name, x.kind, x.architecture, x.width, x.l0,
      ...heads.map((head) => placed.places[head][x.at]), ...scores(x).flatMap((v) => [v.value, v.low, v.high])]),
    textHeads: ["subject", ...sized.map(([, head]) => head), ...heads,
      ...columns.map((c) => `${name(c)} ${c.arrow}`.trim())],
    textRows: rows.map((x) => [`${x.name} ${DATA.marks[x.kind]}`.trim(), ...sized.map(([key]) => x[`${key}_text`]),
      ...heads.map((head) => placed.places[head][x.at]), ...scores(x).map((v) => v.text || "–")]),
    note: site.title,
  };
}
