// One trial beside the chart: what it is and costs, and how it learned; those that are pinned stand side by side.

const CURVES = 7;
let inspected = null, pending = 0;

function inspect(row, event) {  // the trial under the pointer; null: none any more
  inspected = row ?? null;
  const tip = element("tip");
  tip.hidden = inspected === null || !event;
  if (!tip.hidden) {
    tip.replaceChildren(card(inspected, false));
    const x = event.clientX ?? 0, y = event.clientY ?? 0;
    tip.style.left = `${x + 18 + tip.offsetWidth > innerWidth ? Math.max(8, x - 18 - tip.offsetWidth) : x + 18}px`;
    tip.style.top = `${Math.max(8, Math.min(y + 14, innerHeight - tip.offsetHeight - 8))}px`;
  }
  cancelAnimationFrame(pending);
  pending = requestAnimationFrame(() => redraw("chart-curves"));
}

function card(row, whole) {
  const winner = byName.winner && value(byName.winner, row);
  const made = make("article", {class: "card"});
  made.append(make("h3", {}, `trial ${trialName(row)}${winner ? ` · ${winner}` : ""}`,
    make("span", {class: `state ${stateOf(row)}`}, row === data.base ? `${stateOf(row)}, the base` : stateOf(row))));
  const genome = byName.layers && value(byName.layers, row);
  if (genome) made.append(make("p", {class: "genome"}, genome));
  const reason = byName.reason && value(byName.reason, row);
  if (reason) made.append(make("p", {class: "reason"}, reason));
  const list = make("dl");
  const named = columns.filter((column) => column.metric || column.name === "epochs" || column.parameter && (whole || !genome));
  for (const column of named) if (value(column, row) !== null && !column.name.endsWith("_std"))
    list.append(make("div", {"data-name": column.name}, make("dt", {}, head(column)), make("dd", {}, withError(column, row))));
  made.append(list);
  if (whole) {
    const file = winner ? `${data.directory}/winners/${winner}.yaml` : data.trialPaths ? `${data.directory}/trials/${trialName(row)}/genome.yaml` : null;
    const buttons = make("div", {class: "buttons"});
    if (file) buttons.append(copyButton(`model = nas.build("${file}", weights=True)`, "copy: load"), copyButton(`nas train '${file}' --data '${data.data}'`, "copy: train"));
    buttons.append(make("button", {type: "button", class: "unpin", "aria-label": `unpin trial ${trialName(row)}`, onclick: () => pin(row)}, "unpin"));
    made.append(buttons);
  }
  return made;
}

function pins() {  // values that differ between pinned trials are bold
  const cards = state.pins.map((row) => card(row, true));
  for (const column of columns)
    if (new Set(state.pins.map((row) => withError(column, row))).size > 1)
      for (const each of cards) each.querySelector(`[data-name="${CSS.escape(column.name)}"]`)?.classList.add("differs");
  element("pins").replaceChildren(...cards);
  element("pins-hint").hidden = cards.length > 0;
}

function curvesFigure() {  // the trial under the pointer and the pinned ones; without them, the front
  const colours = palette(), look = series();
  const chosen = [...new Set([...state.pins, ...(inspected === null ? [] : [inspected])])].filter((row) => data.curves[row]);
  const rows = chosen.length ? chosen : [...front].filter((row) => data.curves[row]).slice(0, CURVES);
  const traces = rows.map((row, place) => ({
    type: "scatter", mode: data.curves[row].length > 1 ? "lines" : "markers", name: trialName(row), x: data.curves[row].map((_, epoch) => epoch + 1),
    y: data.curves[row].map((accuracy) => accuracy === null ? null : 100 * accuracy),
    line: {color: row === inspected && !state.pins.includes(row) ? colours.ink : look[place % look.length], dash: DASHES[place % DASHES.length], width: 2},
    hovertemplate: "epoch %{x}: %{y:.2f} %"}));
  return [traces, layout({xaxis: axis("epoch", {tickformat: "d"}), yaxis: axis(`${data.accuracy} %`), showlegend: rows.length > 0,
    margin: {l: 52, r: 8, t: 8, b: 44}}), {displayModeBar: false}];
}
