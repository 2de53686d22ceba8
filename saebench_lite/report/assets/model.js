// The page's data: sites, columns, subjects; which of them are shown, and in which order.

const DATA = JSON.parse(document.getElementById("data").textContent);

const SIZES = [["width", "d_sae"], ["l0", "L0"]];

for (const site of DATA.sites) {
  site.columns.forEach((column, at) => {
    const setting = column.variant ? ` [${column.variant}]` : "";
    column.at = at;
    column.key = `${column.task}@${column.version}${setting}/${column.metric}`;
    column.label = `${column.task}${setting} ${column.metric}`;
    column.record = DATA.shared[column.record];
    if (column.per_unit) column.per_unit.names = DATA.shared[column.per_unit.names];
  });
  site.subjects.forEach((subject, at) => { subject.at = at; });
  site.presets = site.sections.map((section) => ({
    name: section.construct || "other",
    heading: section.heading,
    columns: section.columns.length ? section.columns : section.others,
  }));
}

const KINDS = ["sae", "dictionary baseline", "control", "baseline", "oracle"];

const KIND_NAMES = {
  sae: "SAEs", "dictionary baseline": "Dictionary baselines", control: "Controls", baseline: "Supervised baselines",
  oracle: "Oracles",
};

function siteNow() {
  return DATA.sites.find((site) => site.id === state.site) || DATA.sites[0];
}

function presetNow() {
  const site = siteNow();
  return site.presets.find((preset) => preset.name === state.preset) || site.presets[0] || { columns: [], heading: "" };
}

/** The column of a key; undefined where the site has none. */
function columnOf(key) {
  return siteNow().columns.find((column) => column.key === key);
}

/** Columns of the table: those that were chosen, else those of the preset. */
function chosenColumns() {
  const chosen = (state.columns || []).map(columnOf).filter(Boolean);
  return chosen.length ? chosen : presetNow().columns.map((at) => siteNow().columns[at]);
}

/** A size of a subject, or its score in a column: {value, low, high, text}. */
function scoreOf(subject, key, calibrated = false) {
  if (key === "l0" || key === "width") {
    return { value: subject[key], low: null, high: null, text: subject[`${key}_text`] };
  }
  const column = columnOf(key);
  const from = column && calibrated && column.calibrated ? column.calibrated : column;
  const at = subject.at;
  return from ? { value: from.value[at], low: from.low[at], high: from.high[at], text: from.text[at] } : { value: null };
}

/** [value, text] of everything that can be an axis, by task. */
function axisOptions() {
  const groups = new Map([["Size", SIZES.map(([key, name]) => [key, name])]]);
  for (const column of siteNow().columns) {
    if (column.metric === "l0") continue;
    if (!groups.has(column.task)) groups.set(column.task, []);
    groups.get(column.task).push([column.key, `${column.label} ${column.arrow}`]);
  }
  return [...groups];
}

function axisName(key) {
  const size = SIZES.find(([name]) => name === key);
  const column = columnOf(key);
  return size ? size[1] : column ? `${column.label} ${column.arrow}` : "";
}

/** The record of a subject in a column; null where there is none. */
function recordOf(subject, column) {
  const at = column.record[subject.at];
  return at === null ? null : DATA.records[at];
}

/** Subjects of the site that pass the filters; architecture, width and L0 are asked of SAEs alone. */
function shownSubjects() {
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const low = state.l0min === "" ? -Infinity : Number(state.l0min);
  const high = state.l0max === "" ? Infinity : Number(state.l0max);
  return siteNow().subjects.filter((subject) => {
    if (state.hide.includes(subject.kind)) return false;
    const text = `${subject.name} ${subject.kind} ${subject.architecture || ""}`.toLowerCase();
    if (!words.every((word) => text.includes(word))) return false;
    if (subject.kind !== "sae") return true;
    if (state.architecture.length && !state.architecture.includes(subject.architecture || "")) return false;
    if (state.width.length && !state.width.includes(String(subject.width))) return false;
    if (state.l0min === "" && state.l0max === "") return true;
    return subject.l0 !== null && subject.l0 >= low && subject.l0 <= high;
  });
}

/** Whether a subject has something in a column: a score, or a reason why there is none. */
function stands(subject, column) {
  return column.record[subject.at] !== null;
}

/** The rows of the table: best first by the sort column, those without a value last. */
function tableRows(columns) {
  const calibrated = state.scale === "calibrated";
  const rows = shownSubjects().filter((subject) => {
    const values = columns.map((column) => scoreOf(subject, column.key, calibrated).value);
    if (state.complete) return values.every((value) => value !== null && value !== undefined);
    return columns.some((column) => stands(subject, column));
  });
  return ordered(rows, state.sort, state.down, calibrated);
}

function ordered(subjects, key, down, calibrated) {
  const value = (subject) => (key === "name" ? subject.name : scoreOf(subject, key, calibrated).value);
  const known = (v) => v !== null && v !== undefined;
  return [...subjects].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (!known(x) || !known(y)) return known(y) - known(x) || a.at - b.at;
    const order = typeof x === "string" ? x.localeCompare(y) : x - y;
    return (down ? -order : order) || a.at - b.at;
  });
}

/** Whether the best of a column stands first when values fall. */
function bestFalls(key) {
  const column = columnOf(key);
  return key !== "name" && !(column && column.better === "lower");
}

/** The column whose places the table shows, null where it has none: the one it is sorted by, else the first with any. */
function placedColumn(columns) {
  const has = (column) => column && column.places && Object.values(column.places).some((texts) => texts.some(Boolean));
  const asked = columnOf(state.sort) || columns.find(has);
  return has(asked) ? asked : null;
}

/** Distinct values of a property among the site's SAEs, in order. */
function levels(property) {
  const found = siteNow().subjects.filter((x) => x.kind === "sae").map((x) => x[property]).filter((v) => v !== null);
  return [...new Set(found)].sort((a, b) => (typeof a === "number" ? a - b : a.localeCompare(b))).map(String);
}
