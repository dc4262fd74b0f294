// The chart of all trials: any column against any other, the front's line, budgets, errors, states told apart by shape.
//
// A trial that has a value for one axis alone (a refused one has MACs and no accuracy) stands in a strip below the
// chart. Above 3,000 trials the points are drawn by WebGL, where the browser has it; by SVG otherwise.

const MANY = 3000;
const webgl = (() => { try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch { return false; } })();
const LOOKS = () => { const c = palette(); return {
  complete: {symbol: "circle", color: c.grey}, pruned: {symbol: "triangle-down-open", color: c.orange},
  infeasible: {symbol: "square-open", color: c.purple}, failed: {symbol: "x", color: c.red},
  running: {symbol: "hexagon-open", color: c.green}}; };
const present = STATES.filter((name) => byName.state && byName.state.levels.includes(name));
const axes = columns.filter((column) => column.metric || column.parameter || ["epochs", "seconds", "trial"].includes(column.name));

const jitter = (row) => ((row * 0.618034) % 1 - 0.5) * 0.5;  // golden ratio: even, and the same every time
function at(column, row) {  // position on an axis: categories are 0, 1, … and spread a little
  if (column.kind === "text") return column.codes[row] < 0 ? null : column.codes[row] + jitter(row);
  return column.values[row] === null ? null : shown(column, column.values[row]);
}

function chooseAxes() {
  const costs = Object.keys(data.objectives).filter((name) => name !== "accuracy" && byName[name]);
  state.x = byName[state.x] ? state.x : costs[0] || (byName.macs ? "macs" : "trial");
  state.y = byName[state.y] ? state.y : byName.accuracy ? "accuracy" : "trial";
  for (const side of ["x", "y"]) {
    const select = element(`axis-${side}`);
    for (const column of axes) select.append(make("option", {value: column.name, selected: column.name === state[side]}, head(column)));
    select.addEventListener("change", () => change({[side]: select.value, brush: null}));
    const log = element(`log-${side}`);
    log.checked = state[`log${side}`];
    log.addEventListener("change", () => change({[`log${side}`]: log.checked}));
  }
  element("robust").checked = state.robust;
  element("robust").addEventListener("change", (event) => change({robust: event.target.checked}));
  for (const name of present.length > 1 ? present : []) {
    const box = make("input", {type: "checkbox", checked: !state.hidden.includes(name), onchange: () =>
      change({hidden: box.checked ? state.hidden.filter((other) => other !== name) : [...state.hidden, name]})});
    element("states").append(make("label", {}, box, ` ${name}`));
  }
}

function scale(column, side, rows) {  // type, range and ticks of an axis, and how many points it leaves out
  const numbers = [], important = [];
  for (const row of rows) {
    const found = at(column, row);
    if (found === null) continue;
    numbers.push(found);
    if (front.has(row) || state.pins.includes(row)) important.push(found);
  }
  if (column.kind === "text") {
    const labels = column.levels.map((level) => level.length > 16 ? level.slice(0, 15) + "…" : level);
    return [{tickvals: column.levels.map((_, place) => place), ticktext: labels, range: [-0.6, column.levels.length - 0.4]}, 0];
  }
  const log = state[`log${side}`] && numbers.some((number) => number > 0);
  const kept = log ? numbers.filter((number) => number > 0).map(Math.log10) : numbers;
  if (!kept.length) return [{}, 0];
  const limit = data.limits[column.name], always = log ? important.filter((number) => number > 0).map(Math.log10) : important;
  if (limit !== undefined) always.push(log ? Math.log10(shown(column, limit)) : shown(column, limit));
  let [low, high] = state.robust ? robustRange(kept, always)
    : [kept.concat(always).reduce((a, b) => Math.min(a, b)), kept.concat(always).reduce((a, b) => Math.max(a, b))];
  const room = 0.06 * (high - low) || Math.abs(high) * 0.05 || 1;
  const outside = kept.filter((number) => number < low || number > high).length + numbers.length - kept.length;
  const ticks = column.kind === "magnitude" ? {tickformat: "~s"} : {};
  return [{type: log ? "log" : "linear", range: [low - room, high + room], ...ticks}, outside];
}

function staircase(X, Y) {  // the best Y that each X can buy, along the front
  if (!X.direction || !Y.direction) return [[], []];
  const sign = X.direction === "min" ? 1 : -1, better = Y.direction === "max" ? 1 : -1;
  const points = [...front].map((row) => [at(X, row), at(Y, row)]).filter((point) => !point.includes(null));
  points.sort((a, b) => sign * (a[0] - b[0]) || better * (b[1] - a[1]));
  const xs = [], ys = [];
  let best = -Infinity;
  for (const [x, y] of points) if (better * y > best) {
    if (xs.length) { xs.push(x); ys.push(ys.at(-1)); }
    xs.push(x); ys.push(y);
    best = better * y;
  }
  return [xs, ys];
}

function trialsFigure() {
  const X = byName[state.x], Y = byName[state.y], looks = LOOKS(), colours = palette();
  const rows = visibleRows(), drawn = rows.length > MANY && webgl ? "scattergl" : "scatter";
  const strip = [], groups = new Map();
  for (const row of rows) {
    const x = at(X, row), y = at(Y, row);
    if (x === null) continue;
    if (y === null) { strip.push(row); continue; }
    const name = front.has(row) ? "Pareto front" : stateOf(row);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(row);
  }
  const marked = (chosen) => chosen.map((row, place) => state.brush.has(row) ? place : -1).filter((place) => place >= 0);
  const points = (name, chosen, marker, more = {}) => ({
    type: drawn, mode: "markers", name, x: chosen.map((row) => at(X, row)), y: chosen.map((row) => at(Y, row)), customdata: chosen,
    marker, hoverinfo: "none", ...(state.brush ? {selectedpoints: marked(chosen), unselected: {marker: {opacity: 0.12}}} : {}), ...more});
  const size = rows.length > MANY ? 5 : rows.length > 400 ? 7 : 9;
  const traces = [...groups].filter(([name]) => name !== "Pareto front").map(([name, chosen]) =>
    points(name === "complete" ? "trial" : name, chosen, {...looks[name], size, opacity: rows.length > MANY ? 0.5 : 0.85, line: {width: name === "complete" ? 0 : 1.5}}));
  const chosen = groups.get("Pareto front") || [], [xs, ys] = staircase(X, Y);
  traces.push({type: "scatter", mode: "lines", x: xs, y: ys, line: {color: colours.blue, width: 1.5}, hoverinfo: "skip", showlegend: false});
  const bars = (column, side) => byName[`${column.name}_se`] ? {[`error_${side}`]: {type: "data", color: colours.blue, thickness: 1,
    width: 3, array: chosen.map((row) => shown(column, byName[`${column.name}_se`].values[row] ?? 0))}} : {};
  traces.push(points("Pareto front", chosen, {symbol: "diamond", color: colours.blue, size: 11}, {type: "scatter", ...bars(X, "x"), ...bars(Y, "y")}));
  const ring = (name, ringed, colour, more) => {
    const here = ringed.filter((row) => at(X, row) !== null && at(Y, row) !== null);
    if (here.length) traces.push({...points(name, here, {symbol: "circle-open", size: 18, color: colour, line: {width: 2.5}}), type: "scatter", ...more});
  };
  if (data.base !== null) ring("base genome", [data.base], colours.red);
  ring("pinned", state.pins, colours.ink, {mode: "markers+text", text: state.pins.map(trialName), textposition: "top center", cliponaxis: false});
  const [xAxis, beyondX] = scale(X, "x", rows), [yAxis, beyondY] = scale(Y, "y", rows.filter((row) => at(X, row) !== null));
  const without = present.filter((name) => strip.some((row) => stateOf(row) === name));
  const height = without.length ? 0.04 + 0.055 * without.length : 0;
  for (const name of without) {
    const here = strip.filter((row) => stateOf(row) === name);
    traces.push(points(name, here, {...looks[name], size: 8, line: {width: 1.5}}, {type: here.length > MANY ? drawn : "scatter", y: here.map(() => without.indexOf(name)), yaxis: "y2",
      showlegend: !groups.has(name)}));
  }
  element("beyond").textContent = beyondX + beyondY ? `${beyondX + beyondY} outside the range: untick “robust range” to see all` : "";
  const line = (column, side) => data.limits[column.name] === undefined ? [] : [{type: "line", [`${side}0`]: shown(column, data.limits[column.name]),
    [`${side}1`]: shown(column, data.limits[column.name]), [side === "x" ? "y0" : "x0"]: 0, [side === "x" ? "y1" : "x1"]: 1,
    [side === "x" ? "yref" : "xref"]: "paper", line: {color: colours.ink, dash: "dash", width: 1},
    label: {text: `budget ${WRITTEN[column.kind](data.limits[column.name])}`, textposition: side === "x" ? "end" : "start", textangle: 0, font: {size: 11, color: colours.soft}, ...(side === "x" ? {xanchor: "right"} : {})}}];
  return [traces, layout({
    xaxis: axis(title(X), {...xAxis, ...(height ? {anchor: "y2"} : {})}), yaxis: axis(title(Y), {...yAxis, domain: [height, 1]}), selections: state.brush ? element("chart-trials").layout?.selections : [],
    yaxis2: axis("", {domain: [0, Math.max(height - 0.03, 0.001)], visible: height > 0, tickvals: without.map((_, place) => place), ticktext: without.map((name) => name),
      range: [-0.6, without.length - 0.4], fixedrange: true, showgrid: false, ticklen: 0}),
    shapes: [...line(X, "x"), ...line(Y, "y")], dragmode: matchMedia("(pointer: coarse)").matches ? false : "select",
  }), {modeBarButtons: [["select2d", "lasso2d", "zoom2d", "pan2d", "resetScale2d", "toImage"]]}];
}

function listen(place) {
  const rowOf = (event) => event?.points?.find((point) => point.customdata !== undefined)?.customdata;
  place.on("plotly_hover", (event) => inspect(rowOf(event), event.event));
  place.on("plotly_unhover", () => inspect(null));
  place.on("plotly_click", (event) => rowOf(event) !== undefined && pin(rowOf(event)));
  place.on("plotly_selected", (event) => {
    if (!place.drawing && (event?.range || event?.lassoPoints)) change({brush: new Set(event.points.map((point) => point.customdata).filter((row) => row !== undefined))});
  });
  place.on("plotly_deselect", () => change({brush: null}));
  let focus = -1;  // arrows walk through the trials from left to right, Enter pins, Escape clears the marks
  place.addEventListener("keydown", (event) => {
    const X = byName[state.x], order = selectedRows().filter((row) => at(X, row) !== null).sort((a, b) => at(X, a) - at(X, b));
    const step = {ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10}[event.key];
    if (step) { focus = Math.min(Math.max(focus + step, 0), order.length - 1); mark(order[focus]); }
    else if (event.key === "Enter" && focus >= 0) pin(order[focus]);
    else if (event.key === "Escape") change({brush: null});
    else return;
    event.preventDefault();
  });
}

function mark(row) {  // show a trial as if the pointer were on it; null: none
  const place = element("chart-trials");
  inspect(row, null);
  if (!window.Plotly || row === null) return;
  place.data.some((trace, curve) => {
    const point = trace.customdata ? trace.customdata.indexOf(row) : -1;
    if (point >= 0) Plotly.Fx.hover(place, [{curveNumber: curve, pointNumber: point}], [trace.yaxis === "y2" ? "xy2" : "xy"]);
    return point >= 0;
  });
}
