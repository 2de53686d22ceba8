// Elements, text that may come from anywhere, tooltips, files to save.

const SVG = "http://www.w3.org/2000/svg";

/** Text with control characters and marks that reorder or hide text made visible. */
function visible(text) {
  return String(text)
    .replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      (c) => `[U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

/** An HTML element; attributes that begin with `on` are listeners; strings among the children are text, never markup. */
function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An SVG element. */
function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** A JSON value as indented text. */
function pretty(value) {
  const lines = JSON.stringify(value, null, 1).split("\n").map(visible).join("\n");
  const block = h("pre", { tabindex: "0" });
  block.append(document.createTextNode(lines));
  return block;
}

/** Replaces what `place` holds and puts the focus back on the element with the same `data-focus`. */
function swap(place, ...children) {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  const before = [...place.querySelectorAll(".scroll")].map((e) => [e.scrollLeft, e.scrollTop]);
  place.replaceChildren(...children.flat(Infinity).filter(Boolean));
  place.querySelectorAll(".scroll").forEach((e, i) => { if (before[i]) [e.scrollLeft, e.scrollTop] = before[i]; });
  const again = key && [...place.querySelectorAll("[data-focus]")].find((e) => e.dataset.focus === visible(key));
  if (again) again.focus({ preventScroll: true });
}

/** A labelled select. `options` are [value, text] or [group, [[value, text], ...]]. */
function select(label, key, options, value, change) {
  const option = ([v, text]) => h("option", { value: v, selected: v === value }, text);
  const items = options.map((o) => (Array.isArray(o[1]) ? h("optgroup", { label: o[0] }, o[1].map(option)) : option(o)));
  const box = h("select", { "data-focus": key, onchange: (e) => change(e.target.value) }, items);
  return h("label", { class: "field" }, h("span", {}, label), box);
}

/** A labelled checkbox that looks like a chip. */
function chip(label, key, checked, change) {
  const box = h("input", { type: "checkbox", checked, "data-focus": key, onchange: (e) => change(e.target.checked) });
  return h("label", { class: "chip" }, box, h("span", {}, label));
}

/** Buttons of which one is pressed. `options` are [value, text]. */
function choice(label, key, options, value, change) {
  return h("div", { class: "choice", role: "group", "aria-label": label }, options.map(([v, text]) =>
    h("button", { type: "button", "data-focus": `${key}-${v}`, "aria-pressed": String(v === value),
      onclick: () => change(v) }, text)));
}

/** Shows the text of the nearest `data-tip` while it is pointed at or has the focus; Escape hides it. */
function watchTips() {
  const tip = document.getElementById("tip");
  const hide = () => { tip.hidden = true; };
  const show = (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    if (!target) return hide();
    // a modal dialog makes the rest of the page inert and lies above it
    (target.closest("dialog") || document.body).append(tip);
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - own.width / 2), innerWidth - own.width - 8);
    const below = at.bottom + 8 + own.height < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - own.height - 8)}px`;
  };
  document.addEventListener("pointerover", show);
  document.addEventListener("focusin", show);
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (e) => { if (e.key === "Escape") hide(); });
}

/** Offers a text as a file. */
function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
