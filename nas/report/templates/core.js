// What all parts of the page share: the data, how values are written, what is chosen, who is told of a change.
//
// A column is {name, heading, kind, about, values} or, of text, {…, kind: "text", levels, codes}; a row is the place of
// a trial in all columns. `state` is what the reader has chosen. It lives in the address (#…), so that a reload, a
// bookmark or a link in an e-mail shows the same.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const columns = data.columns || [];
const byName = Object.fromEntries(columns.map((column) => [column.name, column]));
const count = columns.length ? (columns[0].values || columns[0].codes).length : 0;
const front = new Set(data.front || []);

// ---- values

function value(column, row) {  // number, text, or null
  if (column.kind !== "text") return column.values[row];
  return column.codes[row] < 0 ? null : column.levels[column.codes[row]];
}

function magnitude(number) {  // as nas/numbers.py: 1234567 -> 1.23 M
  for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (Math.abs(number) >= 0.9995 * size) {
      const scaled = number / size, whole = Math.abs(scaled);
      return `${scaled.toFixed(2 - (whole >= 9.995) - (whole >= 99.95))} ${prefix}`;
    }
  return Math.abs(number) >= 10 ? number.toFixed(0) : String(Number(number.toPrecision(3)));
}

const WRITTEN = {
  percent: (number) => (100 * number).toFixed(2),
  magnitude,
  megabytes: (number) => (number / 1e6).toPrecision(3),
  integer: (number) => String(number),
  number: (number) => Math.abs(number) >= 1e4 ? Math.round(number).toLocaleString("en") : String(Number(number.toPrecision(4))),
  text: (text) => text,
};

function written(column, row) {
  const found = value(column, row);
  return found === null ? "–" : WRITTEN[column.kind](found);
}

function withError(column, row) {  // 97.57 ± 0.91
  const error = byName[`${column.name}_se`];
  const text = written(column, row);
  return error && value(error, row) !== null ? `${text} ± ${written(error, row)}` : text;
}

const shown = (column, number) => column.kind === "percent" ? 100 * number : column.kind === "megabytes" ? number / 1e6 : number;
const trialName = (row) => String(byName.trial.values[row]).padStart(4, "0");
const stateOf = (row) => value(byName.state, row);
const shortened = (name) => name.replace(/stages\./g, "s").replace(/layers\./g, "l");
const head = (column) => column.parameter ? shortened(column.name) : column.heading;  // in a table
const title = (column) => column.axis && column.kind !== "percent" ? column.axis : head(column);  // of an axis

function quantile(sorted, share) {
  const place = share * (sorted.length - 1), low = Math.floor(place);
  return sorted[low] + (place - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

// Tukey's outer fences: from the smallest to the largest number that is within three interquartile ranges of the
// quartiles. The rest would squash them. always: numbers that are in the range whatever they are.
function robustRange(numbers, always = []) {
  const sorted = Float64Array.from(numbers).sort();
  const q1 = quantile(sorted, 0.25), q3 = quantile(sorted, 0.75), spread = q3 - q1;
  if (!sorted.length) return null;
  const low = spread ? sorted.find((number) => number >= q1 - 3 * spread) : sorted[0];
  const high = spread ? sorted.findLast((number) => number <= q3 + 3 * spread) : sorted.at(-1);
  return [Math.min(low, ...always), Math.max(high, ...always)];
}

// ---- what is chosen

const STATES = ["complete", "pruned", "infeasible", "failed", "running"];
const state = {
  x: null, y: null, logx: false, logy: false, robust: true,  // axes of the chart
  brush: null,      // rows marked in the chart, a Set
  parallel: null,   // rows within the marks of the parallel coordinates, a Set
  filters: {},      // column -> what was typed above it
  hidden: [],       // states that are not shown
  pins: [],         // rows, in the order of pinning
  sort: null, down: false,
};
const KEPT = ["x", "y", "logx", "logy", "robust", "filters", "hidden", "pins", "sort", "down"];
const listeners = [];
const onChange = (listener) => listeners.push(listener);

function change(changes) {  // sets keys of the state and tells everybody which
  Object.assign(state, changes);
  const kept = Object.fromEntries(KEPT.map((key) => [key, state[key]]));
  history.replaceState(null, "", "#" + encodeURIComponent(JSON.stringify(kept)));
  const keys = new Set(Object.keys(changes));
  for (const listener of listeners) listener(keys);
}

function restore() {
  try {
    const kept = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    for (const key of KEPT) if (key in kept) state[key] = kept[key];
    state.pins = state.pins.filter((row) => row < count);
  } catch { /* no state in the address, or that of another page */ }
}

function pin(row) {
  const pins = state.pins.includes(row) ? state.pins.filter((other) => other !== row) : [...state.pins, row].slice(-6);
  change({pins});
}

// ---- small parts of HTML; text becomes markup nowhere

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  made.append(...children);
  return made;
}

function copyButton(text, label) {
  const button = make("button", {type: "button", class: "copy", title: text, onclick: async () => {
    await copied(text);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = label; }, 1200);
  }}, label);
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // refused to pages that were opened from a file
    const area = make("textarea", {class: "away"});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
for (const place of document.querySelectorAll("[data-copy]"))
  place.append(copyButton(place.dataset.copy, place.dataset.label || "copy"));
