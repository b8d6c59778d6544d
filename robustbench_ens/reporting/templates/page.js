"use strict";
// The page is complete without this script, which adds filters, sorting, arrow keys in figures, and a switch of the theme.

const root = document.documentElement;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Values of cells

const MISSING = new Set(["", "–", "—", "not run", "no pairs", "never", "none", "unknown", "not measured"]);
const WORDS = { clean: 0 }; // clean images have eps 0
const DURATION = /^(?:(\d+) h)? ?(?:(\d+) min)? ?(?:([\d.]+) s)?$/;
const NUMBER = /^[<>≤≥]? ?([-+−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)(?=$|[\s%])/;
const collator = new Intl.Collator("en", { numeric: true });

const textOf = (cell) => cell.textContent.replace(/\s+/g, " ").trim();

function numberOf(text) {
  if (text in WORDS) return WORDS[text];
  const duration = text && DURATION.exec(text);
  if (duration) return 3600 * (duration[1] ?? 0) + 60 * (duration[2] ?? 0) + Number(duration[3] ?? 0);
  const number = NUMBER.exec(text);
  return number ? Number(number[1].replaceAll(",", "").replace("−", "-")) : NaN;
}

// Sort keys of a column: numbers if most of its cells begin with one, otherwise texts; null for cells without a value.
function keysOf(cells) {
  const texts = cells.map(textOf);
  const present = texts.filter((text) => !MISSING.has(text));
  const numeric = 2 * present.filter((text) => !Number.isNaN(numberOf(text))).length > present.length;
  const key = numeric ? (text) => (Number.isNaN(numberOf(text)) ? null : numberOf(text)) : (text) => text;
  return { numeric, keys: texts.map((text) => (MISSING.has(text) ? null : key(text))) };
}

function compare(left, right, sign) {
  if (left === null || right === null) return (left === null) - (right === null);
  return sign * (typeof left === "number" ? left - right : collator.compare(left, right));
}

// Sorting: the first click sorts in the more useful direction, the second one in the other, and the third one restores the
// original order. A table with groups becomes flat, with the group's name in a new column. Equal rows keep their order.

function makeSortable(table) {
  const homes = new Map();
  for (const body of table.tBodies) {
    for (const row of body.querySelectorAll("tr:not(.group)")) homes.set(row, body);
  }
  if (homes.size < 2) return;
  const flat = make("tbody", { className: "flat" });
  let state = { heading: null, turn: 0 };

  function nameGroups() {
    const group = table.dataset.group;
    if (!group || flat.isConnected) return;
    const heading = make("th", { scope: "col", className: "of-group" });
    table.tHead.rows[0].prepend(heading);
    addButton(heading, group);
    for (const [row, home] of homes) {
      const name = textOf(home.querySelector("tr.group"));
      const cell = make("td", { className: name.length > 32 ? "of-group long" : "of-group name" }, name);
      cell.dataset.label = group;
      row.prepend(cell);
    }
  }

  function sort(heading) {
    nameGroups();
    state = { heading, turn: state.heading === heading ? (state.turn + 1) % 3 : 1 };
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    table.classList.toggle("sorted", state.turn > 0);
    if (state.turn === 0) {
      for (const [row, home] of homes) home.append(row);
      flat.remove();
    } else {
      const rows = flat.isConnected ? [...flat.rows] : [...homes.keys()];
      const { numeric, keys } = keysOf(rows.map((row) => row.cells[heading.cellIndex]));
      const sign = numeric === (state.turn === 1) ? -1 : 1;
      const order = rows.map((row, index) => [row, keys[index]]);
      order.sort(([, left], [, right]) => compare(left, right, sign));
      flat.append(...order.map(([row]) => row));
      table.append(flat);
      heading.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    }
    applyFilters();
  }

  function addButton(heading, text) {
    const button = make("button", { type: "button", title: "Sort" }, text);
    button.addEventListener("click", () => sort(heading));
    heading.replaceChildren(button);
  }

  for (const heading of all("thead th", table)) addButton(heading, heading.textContent);
}

// Filters: an item is shown if it has any chosen value of each fact. Items that do not state a fact are not filtered by it.

const facts = all("#filters fieldset");
const status = document.getElementById("filtered"); // null on pages without filters

function applyFilters() {
  const chosen = facts
    .map((fact) => ({ fact, boxes: all("input:checked", fact) }))
    .filter(({ boxes }) => boxes.length);
  const matches = (element) =>
    chosen.every(({ fact, boxes }) => {
      const own = element.getAttribute(`data-${fact.dataset.fact}`);
      return own === null || own.split(" ").some((number) => boxes.some((box) => box.value === number));
    });
  const containers = all("main section, figure, details, .scroll, tbody");
  containers.forEach((container) => (container.hidden = false));
  for (const fact of facts) {
    for (const element of all(`main [data-${fact.dataset.fact}]`)) element.hidden = !matches(element);
  }
  const hasRows = (container) => container.querySelector("td, .figure");
  const shows = (container) =>
    all("tr:not(.group), .figure", container).some((leaf) => !leaf.closest("thead, [hidden]"));
  const empty = containers.filter((container) => hasRows(container) && !shows(container));
  empty.forEach((container) => (container.hidden = true));
  if (status) report(chosen);
}

function report(chosen) {
  const leaves = all("tbody tr:not(.group), .figure");
  const shown = leaves.filter((leaf) => !leaf.closest("[hidden]")).length;
  const names = chosen.map(({ fact, boxes }) => {
    const values = boxes.map((box) => box.parentElement.textContent.trim()).join(", ");
    return `${fact.querySelector("legend").textContent.toLowerCase()} ${values}`;
  });
  status.textContent = names.length ? `Only ${names.join("; ")}: ${shown} of ${leaves.length} rows and figures.` : "";
  document.getElementById("show-all").disabled = !names.length;
}

// Marks of a figure: the Tab key stops once per figure, and arrow keys move from mark to mark

function makeRoving() {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  for (const scene of all("svg.scene")) {
    const marks = all("g.mark", scene);
    marks.slice(1).forEach((mark) => mark.setAttribute("tabindex", "-1"));
    scene.addEventListener("keydown", (event) => {
      const place = marks.indexOf(event.target);
      const next = marks[place + step[event.key]];
      if (place < 0 || !next) return;
      event.preventDefault();
      marks[place].setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  }
}

// Themes and printing

// Without local storage, as in a locked-down browser, the choice is not remembered.
function stored(write) {
  try {
    return write ? localStorage.setItem("rbe-theme", write) : localStorage.getItem("rbe-theme");
  } catch {
    return null;
  }
}

function makeThemeSwitch(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => (button.textContent = isDark() ? "Light page" : "Dark page");
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    stored(root.dataset.theme);
    label();
  });
  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();
  system.addEventListener("change", label);
  label();
}

let opened = [];
addEventListener("beforeprint", () => {
  opened = all("details:not([open])");
  opened.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => opened.forEach((details) => (details.open = false)));

root.classList.add("script");
all("table").forEach(makeSortable);
makeThemeSwitch(document.getElementById("theme"));
makeRoving();
document.getElementById("controls").hidden = false;
all("#filters").forEach((filters) => {
  filters.hidden = false;
  filters.querySelector("#show-all").addEventListener("click", () => {
    all("#filters input").forEach((box) => (box.checked = false));
    applyFilters();
  });
});
all("#filters input").forEach((box) => box.addEventListener("change", applyFilters));
applyFilters(); // browsers keep checked boxes when a page is reloaded
