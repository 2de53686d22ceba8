// The view that is shown, as CSV, JSON, LaTeX or SVG. A view's sheet holds raw numbers and the texts of its cells.

/** A CSV field; a text that a spreadsheet would take for a formula begins with an apostrophe. */
function csvField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const safe = /^\s*[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function toCsv(sheet) {
  return [sheet.heads, ...sheet.rows].map((row) => row.map(csvField).join(",")).join("\n") + "\n";
}

function toJson(sheet) {
  const heads = sheet.heads.map((head, i) => (sheet.heads.indexOf(head) === i ? head : `${head} (${i + 1})`));
  const rows = sheet.rows.map((row) => Object.fromEntries(heads.map((head, i) => [head, row[i] ?? null])));
  return JSON.stringify(rows, null, 1) + "\n";
}

const LATEX = {
  "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", $: "\\$", "#": "\\#", _: "\\_", "{": "\\{", "}": "\\}",
  "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}",
  "↑": "$\\uparrow$", "↓": "$\\downarrow$", "→": "$\\rightarrow$", "–": "--",
};

function latexText(text) {
  return visible(text).replace(/[\\&%$#_{}~^<>↑↓→–]/g, (c) => LATEX[c]);
}

/** A booktabs table: the first column to the left, the others to the right. */
function toLatex(sheet) {
  const line = (row) => `${row.map(latexText).join(" & ").replace(/^[[*]/, "{$&}")} \\\\`; // no argument of the \\ before
  return [`% ${visible(sheet.note)}`, `\\begin{tabular}{l${"r".repeat(sheet.textHeads.length - 1)}}`, "\\toprule",
    line(sheet.textHeads), "\\midrule", ...sheet.textRows.map(line), "\\bottomrule", "\\end{tabular}", ""].join("\n");
}

const SVG_STYLES = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-weight",
  "font-family", "stroke-linecap", "visibility"];

/** A plot as a file of its own: what the page's style says of it stands in its attributes. */
function toSvg(svg) {
  const copy = svg.cloneNode(true);
  const [from, to] = [svg.querySelectorAll("*"), copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    for (const name of SVG_STYLES) to[i].setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "tabindex", "data-tip", "data-focus", "role"]) to[i].removeAttribute(name);
  });
  copy.setAttribute("xmlns", SVG);
  copy.removeAttribute("class");
  const back = getComputedStyle(document.body).backgroundColor;
  copy.prepend(s("rect", { width: "100%", height: "100%", fill: back }));
  return `${new XMLSerializer().serializeToString(copy)}\n`;
}

const EXPORTS = {
  csv: ["CSV", "text/csv", (shown) => toCsv(shown.sheet)],
  json: ["JSON", "application/json", (shown) => toJson(shown.sheet)],
  tex: ["LaTeX", "application/x-tex", (shown) => toLatex(shown.sheet)],
  svg: ["SVG", "image/svg+xml", (shown) => toSvg(shown.svg)],
};

/** Buttons that save what is shown. */
function exportButtons(shown) {
  const there = Object.entries(EXPORTS).filter(([kind]) => (kind === "svg" ? shown.svg : shown.sheet));
  return h("div", { class: "row exports", role: "group", "aria-label": "Save this view" },
    there.length ? h("span", { class: "muted" }, "Save this view as") : null,
    there.map(([kind, [name, type, make]]) => h("button", { type: "button", "data-focus": `save-${kind}`,
      onclick: () => save(`leaderboard-${state.view}.${kind}`, type, make(shown)) }, name)));
}
