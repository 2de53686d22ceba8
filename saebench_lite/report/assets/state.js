// What is shown, kept in the address after `#`, so that a reload or a link shows the same.

const VIEWS = [
  ["table", "Table"], ["scatter", "Scatter"], ["units", "Per unit"], ["curve", "Over k"], ["density", "Densities"],
  ["compare", "Compare"],
];

const LISTS = ["hide", "architecture", "width", "columns"];

const FLAGS = ["complete", "down", "xlog", "ylog", "far"];

function defaults() {
  return {
    site: DATA.sites[0].id, view: "table", preset: "", columns: [], sort: "", down: true, search: "", hide: [],
    architecture: [], width: [], l0min: "", l0max: "", scale: "raw", complete: false, x: "l0", y: "", xlog: true,
    ylog: false, far: false, unit_metric: "", family: "", a: "", b: "", compared: "", subject: "", metric: "", record: "",
  };
}

const state = defaults();

/** Reads the address; what it does not say is as by default, what the data do not know is left out. */
function readAddress() {
  Object.assign(state, defaults());
  const said = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of said) {
    if (!(key in state)) continue;
    if (LISTS.includes(key)) state[key] = value.split("|").map(decodeURIComponent).filter(Boolean);
    else if (FLAGS.includes(key)) state[key] = value === "1";
    else state[key] = value;
  }
  if (state.record) showRecord(said);
  settle();
  if (!said.has("down")) state.down = bestFalls(state.sort);
}

/** A link to a record needs nothing else: it finds the record's site, subject and a metric. */
function showRecord(said) {
  for (const site of DATA.sites) {
    for (const column of site.columns) {
      const at = column.record.findIndex((r) => r !== null && DATA.records[r].digest === state.record);
      if (at < 0 || (said.has("site") && said.get("site") !== site.id)) continue;
      state.site = site.id;
      if (!said.has("subject")) state.subject = site.subjects[at].name;
      if (!said.has("metric")) state.metric = column.key;
      return;
    }
  }
}

/** Makes the state one that the site can show. */
function settle() {
  const site = siteNow();
  const first = defaults();
  state.site = site.id;
  if (!VIEWS.some(([view]) => view === state.view)) state.view = first.view;
  if (!["raw", "calibrated"].includes(state.scale)) state.scale = first.scale;
  for (const bound of ["l0min", "l0max"]) if (!Number.isFinite(Number(state[bound]))) state[bound] = "";
  if (!site.presets.some((preset) => preset.name === state.preset)) {
    const of = site.presets.find((preset) => preset.columns.includes(site.ranking));
    state.preset = (of || site.presets[0] || { name: "" }).name;
  }
  state.columns = state.columns.filter(columnOf);
  state.architecture = state.architecture.filter((a) => levels("architecture").includes(a));
  state.width = state.width.filter((w) => levels("width").includes(w));
  const columns = chosenColumns();
  const ranking = site.columns[site.ranking];
  if (!["name", "l0", "width"].includes(state.sort) && !columns.includes(columnOf(state.sort))) {
    const sort = columns.includes(ranking) ? ranking : columns.find((c) => c.better !== "neither") || columns[0];
    state.sort = sort ? sort.key : "name";
    state.down = bestFalls(state.sort);
  }
  const known = (key) => key === "l0" || key === "width" || columnOf(key);
  if (!known(state.x)) state.x = "l0";
  if (!known(state.y)) state.y = (columns[0] || ranking || site.columns[0]).key;
}

/** Changes the state, writes it into the address and shows it. */
function change(changes) {
  Object.assign(state, changes);
  settle();
  writeAddress();
  render();
}

function writeAddress() {
  const first = defaults();
  const said = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (LISTS.includes(key)) {
      if (value.length) said.set(key, value.map(encodeURIComponent).join("|"));
    } else if (FLAGS.includes(key)) {
      if (value !== first[key]) said.set(key, value ? "1" : "0");
    } else if (value !== first[key]) said.set(key, value);
  }
  said.set("site", state.site);
  said.set("sort", state.sort);
  said.set("down", state.down ? "1" : "0");
  const address = `#${said}`;
  if (address !== location.hash) history.replaceState(null, "", address);
}
