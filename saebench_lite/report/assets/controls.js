// Everything above the view: site, theme, views, presets, filters; and the notes below it.

function renderHead() {
  const site = siteNow();
  const models = [...new Set(DATA.sites.map((x) => x.model))];
  const parts = [h("div", { class: "title" }, h("h1", {}, "SAE leaderboard"), h("p", { class: "muted" }, site.title))];
  const picks = [];
  if (models.length > 1) {
    picks.push(select("Model", "model", models.map((m) => [m, m]), site.model,
      (model) => change({ site: nearestSite(DATA.sites.filter((x) => x.model === model)).id })));
  }
  const ofModel = DATA.sites.filter((x) => x.model === site.model);
  const hooks = [...new Set(ofModel.map((x) => x.hook))];
  if (hooks.length > 1) {
    picks.push(select("Hook", "hook", hooks.map((x) => [x, x]), site.hook,
      (hook) => change({ site: nearestSite(ofModel.filter((x) => x.hook === hook)).id })));
  }
  const same = ofModel.filter((x) => x.hook === site.hook);
  if (same.length > 1) {
    picks.push(select("Data", "data", same.map((x) => [x.id, dataName(x)]), site.id, (id) => change({ site: id })));
  }
  parts.push(h("div", { class: "picks" }, picks, themeChoice()));
  swap(document.getElementById("head"), parts);
}

/** Of some sites the one that shares most with the one shown. */
function nearestSite(sites) {
  const now = siteNow();
  const alike = (x) => (x.hook === now.hook) + (x.data.digest === now.data.digest);
  return [...sites].sort((a, b) => alike(b) - alike(a))[0];
}

function dataName(site) {
  return `${site.data.name} (${site.data.digest.slice(0, 6)}), ${site.site.dtype}, ${site.site.token_rule}`;
}

function storedTheme() {
  try {
    return localStorage.getItem("theme") || "auto";
  } catch {
    return "auto"; // storage is closed to pages from disk in some browsers
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem("theme", theme);
  } catch {
    // the choice lasts as long as the page
  }
}

function themeChoice() {
  const options = [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]];
  return choice("Colours", "theme", options, document.documentElement.dataset.theme, (theme) => {
    setTheme(theme);
    render();
  });
}

function renderViews() {
  const family = families().length > 0;
  const dense = siteNow().subjects.some((x) => densityOf(x));
  const there = { curve: family, density: dense };
  swap(document.getElementById("views"), VIEWS.filter(([view]) => there[view] !== false).map(([view, name]) =>
    h("button", { type: "button", "data-focus": `view-${view}`, "aria-current": state.view === view ? "page" : null,
      onclick: () => change({ view }) }, name)));
}

/** The filters; while one of their fields is typed in they stay as they are. */
function renderControls() {
  const place = document.getElementById("controls");
  if (place.contains(document.activeElement) && document.activeElement.dataset.typed) {
    const summary = place.querySelector("details.filters > summary");
    if (summary) summary.textContent = filtersName();
    return;
  }
  if (state.view === "compare") {
    place.replaceChildren();
    return;
  }
  const site = siteNow();
  const presets = site.presets.map((preset) => [preset.name, titled(preset.name)]);
  const first = ["curve", "density"].includes(state.view) ? null : h("div", { class: "row" },
    choice("Dimension", "preset", presets, state.preset, (preset) => change({ preset, columns: [], sort: "", y: "" })),
    h("p", { class: "muted heading" }, presetNow().heading));
  const kinds = KINDS.filter((kind) => site.subjects.some((x) => x.kind === kind)).map((kind) =>
    chip(KIND_NAMES[kind], `kind-${kind}`, !state.hide.includes(kind),
      (on) => change({ hide: on ? state.hide.filter((k) => k !== kind) : [...state.hide, kind] })));
  const search = typed("search", "Search", { type: "search", placeholder: "name, kind, architecture" });
  const second = h("div", { class: "row" }, search,
    h("div", { class: "chips", role: "group", "aria-label": "Kinds" }, kinds), saeFilters(place), shows(place));
  swap(place, first, second);
}

function titled(name) {
  const words = name.replace(/_/g, " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A text field that filters while it is typed in. */
function typed(key, label, attributes) {
  const box = h("input", { ...attributes, value: state[key], "data-typed": key, "data-focus": key, autocomplete: "off",
    oninput: (e) => change({ [key]: e.target.value }) });
  return h("label", { class: "field" }, h("span", {}, label), box);
}

function filtersName() {
  const active = state.architecture.length + state.width.length + (state.l0min !== "") + (state.l0max !== "");
  return active ? `Filter SAEs (${active})` : "Filter SAEs";
}

function saeFilters(place) {
  const open = place.querySelector("details.filters");
  const group = (key, label) => {
    const all = levels(key);
    if (all.length < 2) return null;
    const flip = (level) => (on) => change({
      [key]: on ? [...state[key], level] : state[key].filter((x) => x !== level),
    });
    return h("div", { class: "chips", role: "group", "aria-label": label }, h("span", { class: "muted" }, label),
      all.map((level) => chip(level, `${key}-${level}`, state[key].includes(level), flip(level))));
  };
  const bounds = levels("l0").length
    ? h("div", { class: "chips" }, typed("l0min", "L0 from", { type: "text", inputmode: "decimal", size: "5" }),
        typed("l0max", "to", { type: "text", inputmode: "decimal", size: "5" }))
    : null;
  const parts = [group("architecture", "Architecture"), group("width", "d_sae"), bounds].filter(Boolean);
  if (!parts.length) return null;
  return h("details", { class: "filters", open: Boolean(open && open.open) },
    h("summary", { "data-focus": "filters" }, filtersName()), h("div", { class: "panel" }, parts));
}

/** How scores are shown: raw or calibrated, only complete rows, which columns. */
function shows(place) {
  const site = siteNow();
  const scaled = site.columns.some((column) => column.calibrated);
  const open = place.querySelector("details.columns");
  const now = chosenColumns();
  const flip = (column) => (on) => change({
    columns: site.columns.filter((c) => (c === column ? on : now.includes(c))).map((c) => c.key),
  });
  const groups = site.sections.map((section) => h("fieldset", {}, h("legend", {}, titled(section.construct || "other")),
    [...section.columns, ...section.others].map((at) => site.columns[at]).map((column) =>
      chip(`${column.label} ${column.arrow}`, `column-${column.key}`, now.includes(column), flip(column)))));
  return h("div", { class: "shows" },
    scaled && ["table", "scatter"].includes(state.view) ? choice("Scores", "scale", [["raw", "Raw"], ["calibrated", "Calibrated"]], state.scale,
      (scale) => change({ scale })) : null,
    state.view === "table" ? chip("Complete on the chosen columns", "complete", state.complete,
      (complete) => change({ complete })) : null,
    state.view === "table" ? h("details", { class: "columns", open: Boolean(open && open.open) },
      h("summary", { "data-focus": "columns" }, `Columns (${now.length})`), h("div", { class: "panel" }, groups)) : null);
}

function renderNotes() {
  const site = siteNow();
  const recipes = site.recipes && h("section", {}, h("h2", {}, "Recipes"), h("p", {}, site.recipes[0]),
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, site.recipes[1].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, site.recipes[2].map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell))))))));
  const words = new Map(chosenColumns().filter((c) => c.verdict).map((c) => [c.reason, c]));
  const verdicts = h("section", {}, h("h2", {}, "Verdicts of the audit"),
    h("ul", {}, [...words.keys()].map((reason) => h("li", {}, `${reason}.`))));
  const notes = h("section", {}, h("h2", {}, "How to read this"), h("p", {}, DATA.legend),
    h("ul", {}, site.notes.map((note) => h("li", {}, `${note}.`))));
  swap(document.getElementById("notes"), recipes, words.size ? verdicts : null, notes,
    h("p", { class: "muted" }, `saebench-lite ${DATA.version}`));
}
