// The panel of one subject: its description, each record with its provenance, the card of each metric.

function openDetails(subject, column) {
  const record = column ? recordOf(subject, column) : null;
  change({ subject: subject.name, metric: column ? column.key : "", record: record ? record.digest : "" });
}

function closeDetails() {
  if (state.subject) change({ subject: "", metric: "", record: "" });
}

function renderDetails() {
  const dialog = document.getElementById("details");
  const subject = siteNow().subjects.find((v) => v.name === state.subject);
  if (!subject) {
    if (dialog.open) dialog.close();
    return;
  }
  const column = columnOf(state.metric);
  const tasks = new Map();
  for (const c of siteNow().columns) {
    const record = recordOf(subject, c);
    if (!record) continue;
    if (!tasks.has(record)) tasks.set(record, []);
    tasks.get(record).push(c);
  }
  const size = SIZES.filter(([key]) => subject[`${key}_text`]).map(([key, name]) => `${name} ${subject[`${key}_text`]}`);
  const meta = Object.keys(subject.meta).length > 0;
  swap(dialog,
    h("div", { class: "bar" }, h("h2", { id: "details-title" }, subject.name),
      h("button", { type: "button", "data-focus": "close", onclick: closeDetails }, "Close")),
    h("p", { class: "muted" }, [subject.kind === "sae" ? "SAE" : subject.kind, subject.architecture, ...size].filter(Boolean).join(" · ")),
    column ? scoreCard(subject, column) : scoreList(subject, chosenColumns()),
    h("h3", {}, "Records"),
    [...tasks].map(([record, columns]) => recordCard(subject, record, columns)),
    h("h3", {}, "Subject"), facts([["fingerprint", subject.fingerprint], ...sizeFacts(subject)]),
    meta ? pretty(subject.meta) : h("p", { class: "muted" }, "It has no further description."),
    h("h3", {}, "Site"), facts(Object.entries(siteNow().site)), facts(Object.entries(siteNow().data)));
  if (!dialog.open) dialog.showModal();
}

function sizeFacts(subject) {
  return subject.dominated ? [["fidelity at its L0", subject.dominated]] : [];
}

/** A list of names and values; values that are null are left out. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("dl", {}, known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, plainText(value))]));
}

function plainText(value) {
  if (Array.isArray(value)) return value.length ? value.join(", ") : "none";
  if (value && typeof value === "object") return Object.entries(value).map(([k, v]) => `${k} ${v}`).join(", ");
  return String(value);
}

/** The metric's card and what the subject scored on it. */
function scoreCard(subject, column) {
  const at = subject.at;
  const scaled = column.calibrated;
  const noise = siteNow().notes.find((note) => note.startsWith(`${column.label}: `));
  return h("section", { class: "card" },
    h("h3", {}, `${column.label} ${column.arrow}`, " ", verdictTag(column)),
    h("p", { class: "big" }, column.text[at] || "–"),
    column.meaning ? h("p", {}, `${titled(column.meaning)}.`) : null,
    facts([
      ["direction, bounds", column.summary],
      ["units", column.units[at]],
      ["verdict", column.reason],
      ["calibrated", scaled && scaled.text[at] ? `${scaled.text[at]} (0 is ${scaled.zero}, 1 is ${scaled.one})` : ""],
      ["rank among SAEs", column.places ? column.places.rank[at] : ""],
      ["better than", column.places ? column.places["better than"][at] : ""],
      ["control", column.places && column.tested_against[at]
        ? `${column.places.control[at] ? "better than" : "not known to be better than"} ${column.tested_against[at]}` : ""],
      ["best supervised baseline", column.places ? (column.places.baseline[at] && "is better") : ""],
      ["noise", noise ? noise.slice(column.label.length + 2) : ""],
    ]));
}

/** Scores of a subject by metric, each a button that opens the metric's card. */
function scoreList(subject, columns) {
  return h("ul", { class: "scores" }, columns.map((c) => h("li", {},
    h("button", { type: "button", class: "name", "data-focus": `score-${c.key}`, onclick: () => openDetails(subject, c) },
      `${c.label} ${c.arrow}`), h("span", { class: "number" }, c.text[subject.at]))));
}

function recordCard(subject, record, columns) {
  const task = DATA.shared[record.task];
  const made = DATA.shared[record.made];
  const open = state.record === record.digest;
  const link = `#record=${record.digest}&site=${state.site}`;
  const scored = columns.filter((c) => c.value[subject.at] !== null);
  return h("details", { class: "card", open },
    h("summary", {}, `${task.name} version ${task.version}`,
      record.status === "ok" ? "" : h("span", { class: "tag misses" }, record.status.replace("_", " "))),
    record.reason ? h("p", {}, record.reason) : null,
    h("h4", {}, "Record"),
    facts([["digest", record.digest], ["seeds", DATA.shared[record.seeds]], ["package", task.package], ["date", record.date],
      ["seconds", record.seconds], ["peak memory, GiB", record.peak_gib], ...Object.entries(made)]),
    h("p", {}, h("a", { href: link }, "Link to this record")),
    scored.length ? [h("h4", {}, "Scores"), scoreList(subject, scored)] : null,
    h("h4", {}, "Settings"), pretty(DATA.shared[record.settings]));
}
