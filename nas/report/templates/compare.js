// The page that compares runs: a colour, dash and shape for each of them, in all charts.

const runs = data.runs, choice = {x: Object.keys(data.objectives).find((name) => name !== "accuracy"), y: "accuracy", log: false, others: false};
const column = (run, name) => run.columns.find((each) => each.name === name);
const names = [...new Set(runs.flatMap((run) => run.columns.filter((each) => each.metric && !each.name.endsWith("_std")).map((each) => each.name)))];
const example = (name) => runs.map((run) => column(run, name)).find(Boolean);

function steps(X, Y) {  // the best Y that each X can buy
  const sign = X.direction === "min" ? 1 : -1, better = Y.direction === "max" ? 1 : -1, xs = [], ys = [];
  const points = X.values.map((x, row) => [x, Y.values[row]]).filter((point) => !point.includes(null)).sort((a, b) => sign * (a[0] - b[0]) || better * (b[1] - a[1]));
  for (const [x, y] of points) if (!ys.length || better * y > better * ys.at(-1)) {
    if (ys.length) { xs.push(x); ys.push(ys.at(-1)); }
    xs.push(x); ys.push(y);
  }
  return [xs.map((x) => shown(X, x)), ys.map((y) => shown(Y, y))];
}

function frontsFigure() {
  const look = series(), traces = [];
  for (const [place, run] of runs.entries()) {
    const X = column(run, choice.x), Y = column(run, choice.y), error = column(run, `${choice.y}_se`);
    if (!X || !Y) continue;
    const style = {color: look[place % 7], dash: DASHES[place % 7]}, [xs, ys] = steps(X, Y), trials = run.trials;
    if (choice.others && trials[choice.x] && trials[choice.y]) traces.push({type: "scatter", mode: "markers", x: trials[choice.x].map((x) => x === null ? null : shown(X, x)),
      y: trials[choice.y].map((y) => y === null ? null : shown(Y, y)), marker: {color: style.color, size: 5, symbol: SYMBOLS[place % 7]}, opacity: 0.35, hoverinfo: "skip", showlegend: false});
    traces.push({type: "scatter", mode: "lines", x: xs, y: ys, line: {...style, width: 1.5}, hoverinfo: "skip", showlegend: false, legendgroup: run.name});
    traces.push({type: "scatter", mode: "markers", name: run.name, legendgroup: run.name, x: X.values.map((x) => x === null ? null : shown(X, x)), y: Y.values.map((y) => y === null ? null : shown(Y, y)),
      marker: {color: style.color, size: 10, symbol: SYMBOLS[place % 7]}, ...(error ? {error_y: {type: "data", array: error.values.map((each) => shown(Y, each ?? 0)), thickness: 1, width: 3}} : {}),
      text: X.values.map((_, row) => `<b>${run.name} ${written(column(run, "winner") || column(run, "trial"), row)}</b><br>${run.layers[row]}<br>${run.columns.filter((each) => each.metric).map((each) => `${each.heading} ${written(each, row)}`).join("<br>")}`),
      hovertemplate: "%{text}<extra></extra>"});
  }
  const X = example(choice.x), Y = example(choice.y);
  return [traces, layout({xaxis: axis(title(X), {type: choice.log ? "log" : "linear", ...(X.kind === "magnitude" ? {tickformat: "~s"} : {})}), yaxis: axis(title(Y), Y.kind === "magnitude" ? {tickformat: "~s"} : {})})];
}

function growthFigure(key, text, divisor) {
  const look = series(), last = Math.max(...data.hypervolume.map((run) => run[key].at(-1) ?? 0));
  return [data.hypervolume.map((run, place) => ({type: "scatter", mode: "lines", name: run.name, x: run[key].map((spent) => spent / divisor),
    y: run.share, line: {shape: "hv", color: look[place % 7], dash: DASHES[place % 7], width: 2}, hovertemplate: "%{x:.4~g}: %{y:.3f}"})),
    layout({xaxis: axis(text, {range: [0, last / divisor * 1.03]}), yaxis: axis("hypervolume, share of all", {range: [0, 1.05]})})];
}

for (const side of ["x", "y"]) {
  const select = element(`axis-${side}`);
  for (const name of names) select.append(make("option", {value: name, selected: choice[side] === name}, head(example(name))));
  select.addEventListener("change", () => { choice[side] = select.value; redraw("chart-fronts"); });
}
for (const [id, key] of [["log-x", "log"], ["others", "others"]])
  element(id).addEventListener("change", (event) => { choice[key] = event.target.checked; redraw("chart-fronts"); });
if (names.length) chart("chart-fronts", frontsFigure);
if (data.hypervolume.length) {
  const long = Math.max(...data.hypervolume.map((run) => run.seconds.at(-1) ?? 0)) >= 7200;
  chart("chart-time", () => growthFigure("seconds", long ? "worker-hours" : "worker-minutes", long ? 3600 : 60));
  chart("chart-count", () => growthFigure("trials", "trials that a worker has ended", 1));
}
begin().catch(failed);
