// The charts below the table: parallel coordinates, importances, maps of the front against all, hypervolume, winners.

const completeRows = () => Array.from(order).filter((row) => stateOf(row) === "complete");
const spread = (rows, most) => rows.length <= most ? rows : Array.from({length: most}, (_, place) => rows[Math.round(place * (rows.length - 1) / (most - 1))]);

const LINES = 1000;  // lines of the parallel coordinates: more are a carpet, and slow without a graphics card
let parallelAxes = [];  // [column, row => position]

function parallelFigure() {
  const named = [...columns.filter((column) => column.parameter), ...["params", "macs", "latency", "throughput", "accuracy"].map((name) => byName[name]).filter(Boolean)];
  const rows = completeRows().filter((row) => byName.accuracy.values[row] !== null);
  const used = named.filter((column) => rows.filter((row) => value(column, row) !== null).length > 0.9 * rows.length).slice(-14);
  const whole = rows.filter((row) => used.every((column) => value(column, row) !== null));
  const lines = [...spread(whole.filter((row) => !front.has(row)), LINES), ...whole.filter((row) => front.has(row))];
  parallelAxes = used.map((column) => [column, column.kind === "text" ? (row) => column.codes[row] < 0 ? null : column.codes[row] + 0.4 * jitter(row) : (row) => at(column, row)]);
  const colour = lines.map((row) => 100 * byName.accuracy.values[row]), [low, high] = robustRange(colour) || [0, 1];
  const dimensions = parallelAxes.map(([column, position]) => column.kind === "text"
    ? {label: head(column), values: lines.map(position), tickvals: column.levels.map((_, code) => code),
       ticktext: column.levels.map((level) => level.length > 14 ? level.slice(0, 13) + "…" : level), range: [-0.4, column.levels.length - 0.6]}
    : {label: head(column), values: lines.map(position), ...(column.kind === "magnitude" ? {tickformat: "~s"} : {}),
       range: robustRange(whole.map(position))});
  element("chart-parallel").style.minWidth = `${104 * used.length}px`;
  return [[{type: "parcoords", dimensions, labelangle: -18, labelfont: {size: 12}, tickfont: {size: 11, color: palette().soft}, rangefont: {size: 1, color: "rgba(0,0,0,0)"},
    line: {color: colour, colorscale: isDark() ? "Viridis" : "Cividis", cmin: low, cmax: high, showscale: true, reversescale: !isDark(),
      colorbar: {title: {text: `${data.accuracy} %`, side: "right"}, thickness: 12, outlinewidth: 0}},
    unselected: {line: {opacity: 0.04}}}], layout({margin: {l: 96, r: 30, t: 60, b: 24}}), {displayModeBar: false}];
}

function listenParallel(place) {
  place.on("plotly_restyle", () => {
    const marked = place.data[0].dimensions.map((each, axis) => [each.constraintrange, parallelAxes[axis][1]]).filter(([range]) => range);
    const within = ([range, position], row) => (Array.isArray(range[0]) ? range : [range]).some(([low, high]) => position(row) !== null && position(row) >= low && position(row) <= high);
    change({parallel: marked.length ? new Set(Array.from(order).filter((row) => marked.every((each) => within(each, row)))) : null});
  });
}

function importanceFigure() {
  const found = data.importance, colours = palette(), names = found.parameters.slice(0, 16).reverse(), n = names.length;
  return [[{type: "bar", orientation: "h", y: names.map(shortened), x: found.mean.slice(0, n).reverse(), marker: {color: colours.blue},
    error_x: {type: "data", array: found.std.slice(0, n).reverse(), color: colours.ink, thickness: 1.2, width: 4}, customdata: names, hovertemplate: "%{customdata}: %{x:.3f}<extra></extra>"}],
    layout({xaxis: axis("loss of R² when its values are shuffled"), yaxis: axis("", {ticks: ""}), margin: {l: 90, r: 14, t: 12, b: 48}}), {displayModeBar: false}];
}

// A map has the parameters that end in the same key (core, split): which share of the front, and of all, has which value.
function mapGroups() {
  const groups = new Map();
  for (const column of columns.filter((each) => each.parameter)) {
    const levels = column.kind === "text" ? column.levels : [...new Set(column.values.filter((each) => each !== null))].sort((a, b) => a - b).map(String);
    if (levels.length < 2 || levels.length > 12) continue;
    const key = /\.layers\.\d+$/.test(column.name) ? "candidate" : column.name.split(".").at(-1);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(column);
  }
  return [...groups];
}

function mapFigure([, group]) {
  const of = (column, row) => { const found = value(column, row); return found === null ? null : String(found); };
  const rows = completeRows(), levels = [...new Set(group.flatMap((column) => rows.map((row) => of(column, row))))].filter((each) => each !== null)
    .sort((a, b) => isNaN(a) || isNaN(b) ? (a < b ? -1 : 1) : a - b);
  const names = group.map((column) => shortened(column.name));
  const shares = (chosen) => group.map((column) => levels.map((level) => chosen.filter((row) => of(column, row) === level).length / Math.max(1, chosen.length)));
  const heat = (z, side, name) => ({type: "heatmap", z, x: levels, y: names, xaxis: `x${side}`, yaxis: "y", zmin: 0, zmax: 1, xgap: 2, ygap: 2, showscale: false,
    colorscale: isDark() ? [[0, "#1b2127"], [1, "#56b4e9"]] : [[0, "#f2f5f7"], [1, "#0072b2"]], texttemplate: "%{text}", text: z.map((line) => line.map((share) => `${Math.round(100 * share)} %`)),
    hovertemplate: `%{y} = %{x}: %{text} of ${name}<extra></extra>`});
  const label = (text, x) => ({text, x, y: 1.0, xref: "paper", yref: "paper", showarrow: false, xanchor: "center", yanchor: "bottom", yshift: 6});
  const side = (anchor) => axis("", {...anchor, type: "category", ticks: "", showgrid: false, tickangle: levels.join("").length > 24 ? -30 : 0});
  return [[heat(shares([...front]), "", "the front"), heat(shares(rows), "2", "all complete trials")],
    layout({xaxis: side({domain: [0, 0.48]}), xaxis2: side({domain: [0.52, 1]}), yaxis: axis("", {autorange: "reversed", ticks: "", type: "category", showgrid: false}),
      annotations: [label(`front (${front.size})`, 0.24), label(`all complete (${rows.length})`, 0.76)], margin: {l: 80, r: 10, t: 34, b: 40}}), {displayModeBar: false}];
}

function hypervolumeFigure(key, text, divisor) {
  const look = series();
  return [data.hypervolume.map((run, place) => ({type: "scatter", mode: "lines", name: run.name, x: run[key].map((spent) => spent / divisor), y: run.share,
    line: {shape: "hv", color: look[place % 7], dash: DASHES[place % 7], width: 2}, hovertemplate: "%{x:.4~g}: %{y:.3f}"})),
    layout({xaxis: axis(text), yaxis: axis("hypervolume, share of all", {rangemode: "tozero"}), showlegend: data.hypervolume.length > 1})];
}

function bundleFigure() {  // learning curves: up to seven of the front in colour, up to 300 others in grey
  const colours = palette(), look = series(), x = [], y = [], known = (row) => data.curves[row];
  for (const row of spread(Array.from(order).filter((row) => known(row) && !front.has(row)), 300)) {
    data.curves[row].forEach((accuracy, epoch) => { x.push(epoch + 1); y.push(accuracy === null ? null : 100 * accuracy); });
    x.push(null); y.push(null);
  }
  const grey = {type: "scatter", mode: "lines", x, y, name: "others", line: {color: colours.grey, width: 0.8}, opacity: 0.5, hoverinfo: "skip"};
  const named = spread([...front].filter(known).sort((a, b) => (byName.macs?.values[a] ?? a) - (byName.macs?.values[b] ?? b)), CURVES);
  return [[grey, ...named.map((row, place) => ({type: "scatter", mode: "lines+markers", marker: {size: 4, symbol: SYMBOLS[place]}, name: trialName(row),
    x: data.curves[row].map((_, epoch) => epoch + 1), y: data.curves[row].map((accuracy) => accuracy === null ? null : 100 * accuracy),
    line: {color: look[place], dash: DASHES[place], width: 2}, hovertemplate: "epoch %{x}: %{y:.2f} %"}))],
    layout({xaxis: axis("epoch", {tickformat: "d"}), yaxis: axis(`${data.accuracy} %`)})];
}

function stackFigure() {  // a bar per winner, the image at the bottom and the head on top; colour and pattern by block
  const stacks = spread(data.stacks, 12), look = series(), kind = (layer) => /layers/.test(layer.name) ? layer.what.split(/ [(+]/)[0] : layer.name === "head" ? "head" : layer.name.split(".").at(-1);
  const kinds = [...new Set(stacks.flatMap((stack) => stack.layers.map(kind)))], deepest = Math.max(...stacks.map((stack) => stack.layers.length)), traces = [];
  for (let depth = 0; depth < deepest; depth++) for (const [place, name] of kinds.entries()) {
    const chosen = stacks.filter((stack) => stack.layers[depth] && kind(stack.layers[depth]) === name), layers = chosen.map((stack) => stack.layers[depth]);
    if (chosen.length) traces.push({type: "bar", x: chosen.map((stack) => stack.winner), y: layers.map((layer) => layer.macs), name, legendgroup: name, legendrank: place,
      showlegend: !traces.some((trace) => trace.name === name), marker: {color: look[place % 7], pattern: {shape: PATTERNS[place % 7], solidity: 0.16, size: 9, fillmode: "overlay", fgcolor: palette().back}, line: {color: palette().back, width: 1.5}},
      customdata: layers.map((layer) => [layer.name, layer.what, WRITTEN.magnitude(layer.macs), WRITTEN.magnitude(layer.params), layer.ms == null ? "" : `, ${layer.ms.toPrecision(3)} ms`]),
      hovertemplate: "%{customdata[0]}: %{customdata[1]}<br>%{customdata[2]} MACs, %{customdata[3]} params%{customdata[4]}<extra></extra>"});
  }
  return [traces, layout({barmode: "stack", bargap: 0.35, xaxis: axis("", {type: "category"}), yaxis: axis("MACs per image", {tickformat: "~s"}), legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "normal"}})];
}

function compareStacks() {  // winners side by side; a layer in which they differ is marked
  const place = element("winners"), chosen = data.stacks.slice(0, innerWidth < 700 ? 2 : 4).map((stack) => stack.winner);
  const fill = () => {
    const stacks = data.stacks.filter((stack) => chosen.includes(stack.winner)), names = [...new Set(stacks.flatMap((stack) => stack.layers.map((layer) => layer.name)))];
    const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", {class: "text"}, "layer"), ...stacks.map((stack) => make("th", {class: "text"}, `${stack.winner} · ${magnitude(stack.macs)} MACs`)))));
    const body = make("tbody");
    for (const name of names) {
      const layers = stacks.map((stack) => stack.layers.find((layer) => layer.name === name));
      body.append(make("tr", {class: new Set(layers.map((layer) => layer?.what)).size > 1 ? "differs" : ""}, make("td", {class: "text"}, shortened(name)),
        ...layers.map((layer) => make("td", {class: "text"}, layer ? `${layer.what} · ${magnitude(layer.macs)}${layer.ms == null ? "" : ` · ${layer.ms.toPrecision(3)} ms`}` : "–"))));
    }
    table.append(body);
    element("winners-table").replaceChildren(table);
  };
  for (const {winner} of data.stacks) {
    const box = make("input", {type: "checkbox", checked: chosen.includes(winner), onchange: () => {
      if (box.checked) chosen.push(winner); else chosen.splice(chosen.indexOf(winner), 1);
      fill();
    }});
    place.append(make("label", {}, box, ` ${winner}`));
  }
  fill();
}

function confusionFigure() {
  const found = data.confusion[element("confusion-winner").selectedIndex], size = found.names.length;
  const counts = Array.from({length: size}, () => Array(size).fill(0));
  for (const [label, answer, images] of found.counts) counts[label][answer] = images;
  const z = counts.map((line, label) => line.map((images) => found.images[label] ? 100 * images / found.images[label] : null));
  return [[{type: "heatmap", z, x: found.names, y: found.names, text: counts.map((line) => line.map((images) => images || "")), texttemplate: size <= 20 ? "%{text}" : "",
    colorscale: isDark() ? "Viridis" : "Cividis", reversescale: !isDark(), zmin: 0, zmax: 100, xgap: size <= 20 ? 1 : 0, ygap: size <= 20 ? 1 : 0, colorbar: {title: {text: "% of the class", side: "right"}, thickness: 12, outlinewidth: 0},
    hovertemplate: "%{y} answered with %{x}: %{text} images, %{z:.1f} %<extra></extra>"}],
    layout({xaxis: axis("answer", {type: "category", showgrid: false}), yaxis: axis("class", {type: "category", autorange: "reversed", showgrid: false})})];
}

function sensitivityFigure() {
  const found = data.sensitivity, layers = [...new Set(found.layer)], names = [...new Set(found.candidate)];
  const grid = (of) => layers.map((layer) => names.map((name) => { const place = found.layer.findIndex((each, row) => each === layer && found.candidate[row] === name); return place < 0 ? null : of(place); }));
  const blank = (cells) => cells.map((line) => line.map((cell) => cell ?? ""));
  return [[{type: "heatmap", x: names, y: layers.map(shortened), z: grid((row) => Math.log10(Math.max(found.kl[row], 1e-6))), text: blank(grid((row) => found.kl[row].toPrecision(2))), texttemplate: "%{text}",
    customdata: grid((row) => `${(100 * found.delta_accuracy[row]).toFixed(2)} ± ${(196 * found.delta_accuracy_se[row]).toFixed(2)} points, ${magnitude(found.delta_macs[row])} MACs`),
    colorscale: isDark() ? "Viridis" : "Cividis", reversescale: !isDark(), xgap: 2, ygap: 2, colorbar: {title: {text: "log10 KL", side: "right"}, thickness: 12, outlinewidth: 0},
    hovertemplate: "%{y} as %{x}: KL %{text}<br>%{customdata}<extra></extra>"}],
    layout({xaxis: axis("", {type: "category", showgrid: false, ticks: ""}), yaxis: axis("", {type: "category", autorange: "reversed", showgrid: false, ticks: ""}), margin: {l: 70, r: 14, t: 12, b: 48}})];
}

function repairFigure() {
  const found = data.assemblies, look = series(), arms = [...new Set(found.arm)], traces = [], of = (arm, key) => found.arm.map((each, row) => [each, found.macs[row], 100 * found[key][row]]).filter(([each]) => each === arm).sort((a, b) => a[1] - b[1]);
  for (const [place, arm] of arms.entries()) for (const [key, when] of [["delta_accuracy_before", "before"], ["delta_accuracy", "after"]]) {
    if (when === "before" && arm !== "chosen") continue;
    const points = of(arm, key);
    traces.push({type: "scatter", mode: arm === "chosen" ? "lines+markers" : "markers", name: `${arm}, ${when} repair`, x: points.map((point) => point[1]), y: points.map((point) => point[2]),
      line: {dash: when === "before" ? "dot" : "solid", color: look[place % 7]}, marker: {symbol: SYMBOLS[place % 7] + (when === "before" ? "-open" : ""), size: 10, color: look[place % 7]}, hovertemplate: "%{x:.4s} MACs: %{y:+.2f} points"});
  }
  return [traces, layout({xaxis: axis("MACs per image", {tickformat: "~s"}), yaxis: axis(`${data.accuracy} less the parent's, points`, {zeroline: true, zerolinecolor: palette().soft})})];
}
