// The table of all trials: sorted by a click on a heading, filtered by what is typed below it, and linked to the chart.
//
// Only the rows in sight are in the document, so ten thousand cost no more than thirty. In the fields: part of a text,
// or >0.9, <=3, 1..5, =3 for numbers in the unit of the heading, 900k and 1.2M included.

const ROW = 30;  // pixels; as in page.css
const SIZES = {k: 1e3, K: 1e3, M: 1e6, G: 1e9};
const order = Uint32Array.from({length: count}, (_, row) => row);
const listed = columns.filter(({name}) => !(name.endsWith("_se") && byName[name.slice(0, -3)]));  // an error stands beside its figure
let visible = [], selected = [];  // rows within the filters; those of them that are marked in the charts, in order

const visibleRows = () => visible;
const selectedRows = () => selected;

function number(text) {
  const found = /^([-+]?[\d.]+(?:e[-+]?\d+)?)\s*([kKMG]?)$/.exec(text.trim().replace(/,/g, ""));
  return found ? Number(found[1]) * (SIZES[found[2]] || 1) : NaN;
}

function test(column, typed) {  // a function of rows, or null if there is nothing to ask
  const text = typed.trim();
  if (!text) return null;
  if (column.kind === "text") {
    const wanted = text.replace(/^=/, "").toLowerCase(), whole = text.startsWith("=");
    const fits = column.levels.map((level) => whole ? level.toLowerCase() === wanted : level.toLowerCase().includes(wanted));
    return (row) => column.codes[row] >= 0 && fits[column.codes[row]];
  }
  const numbers = column.values, range = text.split(".."), sign = /^(<=|>=|<|>|=)(.+)$/.exec(text);
  const of = (row) => numbers[row] === null ? NaN : shown(column, numbers[row]);
  if (range.length === 2) return (row) => of(row) >= number(range[0]) && of(row) <= number(range[1]);
  if (!sign) return (row) => numbers[row] !== null && written(column, row).startsWith(text);
  const limit = number(sign[2]);
  return {"<": (row) => of(row) < limit, "<=": (row) => of(row) <= limit, ">": (row) => of(row) > limit,
          ">=": (row) => of(row) >= limit, "=": (row) => of(row) === limit}[sign[1]];
}

function filter() {
  const tests = Object.entries(state.filters).filter(([name]) => byName[name]).map(([name, typed]) => test(byName[name], typed)).filter(Boolean);
  if (state.parallel) tests.push((row) => state.parallel.has(row));
  if (state.hidden.length) {
    const hidden = byName.state.levels.map((level) => state.hidden.includes(level));
    tests.push((row) => !hidden[byName.state.codes[row]]);
  }
  visible = Array.from(order).filter((row) => tests.every((fits) => fits(row)));
  select();
}

function select() {
  selected = state.brush ? visible.filter((row) => state.brush.has(row)) : visible;
  sort();
}

function sort() {
  const column = byName[state.sort];
  if (!column) return;
  const sign = state.down ? -1 : 1;
  const rank = column.kind === "text" && new Map([...column.levels.keys()].sort((a, b) => column.levels[a] < column.levels[b] ? -1 : 1).map((code, place) => [code, place]));
  const key = rank ? (row) => column.codes[row] < 0 ? null : rank.get(column.codes[row]) : (row) => column.values[row];
  selected = [...selected].sort((a, b) => {  // missing values are last either way
    const x = key(a), y = key(b);
    return x === null || y === null ? (x === null) - (y === null) || a - b : sign * (x - y) || a - b;
  });
}

function makeTable() {
  const place = element("trials"), heading = make("tr"), fields = make("tr", {class: "filters"}), widths = make("colgroup");
  for (const column of listed) {
    const sample = Array.from({length: Math.min(count, 300)}, (_, row) => withError(column, Math.floor(row * count / Math.min(count, 300))).length);
    const width = Math.min(Math.max(...sample, head(column).length + 3, 7), column.name === "layers" || column.name === "reason" ? 44 : 20);
    widths.append(make("col", {style: `width:${width + 2}ch`}));
    const button = make("button", {type: "button", title: `${column.name}: ${column.about}`, onclick: () =>
      change(state.sort === column.name ? state.down ? {sort: null, down: false} : {down: true} : {sort: column.name, down: false})}, head(column));
    heading.append(make("th", {scope: "col", "data-name": column.name, class: column.kind === "text" ? "text" : ""}, button));
    const field = make("input", {type: "search", "aria-label": `filter ${column.heading}`, placeholder: column.kind === "text" ? "contains" : "> < ..",
      value: state.filters[column.name] || null, oninput: () => change({filters: {...state.filters, [column.name]: field.value}})});
    fields.append(make("td", {}, field));
  }
  place.querySelector("table").append(widths, make("thead", {}, heading, fields), make("tbody"));
  place.addEventListener("scroll", () => requestAnimationFrame(fill), {passive: true});
  place.addEventListener("keydown", walk);
  element("glossary").append(...listed.filter((column) => column.about).flatMap((column) =>
    [make("dt", {}, head(column) === column.name ? column.name : `${head(column)} (${column.name})`), make("dd", {}, column.about)]));
  element("clear").addEventListener("click", () => {
    for (const field of place.querySelectorAll("input")) field.value = "";
    for (const box of element("states").querySelectorAll("input")) box.checked = true;
    change({brush: null, parallel: null, filters: {}, hidden: []});
    redraw("chart-parallel");
  });
}

function fill() {  // the rows in sight, with empty space for the others
  const place = element("trials"), body = place.querySelector("tbody"), all = paper.matches;
  const first = all ? 0 : Math.max(0, Math.min(Math.floor(place.scrollTop / ROW) - 8, selected.length - 1));
  const last = Math.min(selected.length, all ? 60 : first + Math.ceil(Math.max(place.clientHeight, 480) / ROW) + 16);
  const focused = body.contains(document.activeElement) ? Number(document.activeElement.dataset.row) : null;
  const space = (rows) => make("tr", {class: "space", "aria-hidden": "true", style: `height:${rows * ROW}px`});
  const rows = selected.slice(first, last).map((row, place) => {
    const made = make("tr", {tabindex: "-1", "data-row": row, "aria-rowindex": first + place + 3, class: [front.has(row) && "front", state.pins.includes(row) && "pinned"].filter(Boolean).join(" ")});
    for (const column of listed) made.append(make("td", {class: column.kind === "text" ? "text" : "", title: column.kind === "text" ? written(column, row) : null}, withError(column, row)));
    return made;
  });
  body.replaceChildren(space(first), ...rows, space(all ? 0 : selected.length - last));
  if (focused !== null) body.querySelector(`[data-row="${focused}"]`)?.focus({preventScroll: true});
  const marks = [state.brush && "marked in the chart", state.parallel && "marked in the parallel coordinates", Object.values(state.filters).some((typed) => typed.trim()) && "filtered"].filter(Boolean);
  element("shown").textContent = `${selected.length.toLocaleString("en")} of ${count.toLocaleString("en")} trials${marks.length ? ` (${marks.join(", ")})` : ""}`;
  element("clear").hidden = !marks.length && !state.hidden.length;
}

function heads() {
  for (const cell of element("trials").querySelectorAll("th"))
    cell.setAttribute("aria-sort", cell.dataset.name !== state.sort ? "none" : state.down ? "descending" : "ascending");
}

function walk(event) {  // up and down through the rows, Enter pins
  const place = element("trials"), row = event.target.closest("tbody tr[data-row]");
  if (event.target.matches("input, button")) return;
  const at = row ? selected.indexOf(Number(row.dataset.row)) : -1;
  const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -selected.length, End: selected.length}[event.key];
  if (step && selected.length) {
    const next = Math.min(Math.max(at + step, 0), selected.length - 1), top = next * ROW;
    const above = place.querySelector("thead").offsetHeight;
    if (top < place.scrollTop) place.scrollTop = top;
    else if (top + ROW > place.scrollTop + place.clientHeight - above - 16) place.scrollTop = top + ROW - place.clientHeight + above + 16;
    fill();
    place.querySelector(`[data-row="${selected[next]}"]`)?.focus({preventScroll: true});
    mark(selected[next]);
  } else if (event.key === "Enter" && row) pin(Number(row.dataset.row));
  else return;
  event.preventDefault();
}

function watchTable() {
  const place = element("trials");
  place.addEventListener("click", (event) => {
    const row = event.target.closest("tbody tr[data-row]");
    if (row) { row.focus({preventScroll: true}); pin(Number(row.dataset.row)); }
  });
  place.addEventListener("mouseover", (event) => {
    const row = event.target.closest("tbody tr[data-row]");
    if (row) mark(Number(row.dataset.row));
  });
  paper.addEventListener("change", fill);
  onChange((keys) => {
    if (["filters", "hidden", "parallel"].some((key) => keys.has(key))) filter();
    else if (["brush", "sort", "down"].some((key) => keys.has(key))) select();
    if (keys.has("filters") || keys.has("hidden") || keys.has("brush")) place.scrollTop = 0;
    heads();
    fill();
  });
}
