// The page of a run: which parts it has, in the order in which they are drawn.

restore();
if (count) {
  chooseAxes();
  makeTable();
  filter();
  heads();
  fill();
  watchTable();
  pins();
  chart("chart-trials", trialsFigure, listen);
  chart("chart-curves", curvesFigure);
  chart("chart-parallel", parallelFigure, listenParallel);
  onChange((keys) => {
    if (["x", "y", "logx", "logy", "robust", "pins", "filters", "hidden", "parallel"].some((key) => keys.has(key)) || keys.has("brush") && !state.brush) redraw("chart-trials");
    if (keys.has("pins")) { pins(); redraw("chart-curves"); }
  });
}
if (data.importance) chart("chart-importance", importanceFigure);
for (const [place, group] of mapGroups().entries()) {
  if (!element("maps")) break;
  element("maps").append(make("figure", {}, make("div", {id: `chart-map-${place}`, class: "chart", style: `height:${110 + 30 * group[1].length}px`, role: "img", "aria-label": `map of ${group[0]}`}),
    make("figcaption", {}, `Share of the trials that have each ${group[0]}, in each place.`)));
  chart(`chart-map-${place}`, () => mapFigure(group));
}
const longest = Math.max(0, ...data.hypervolume.flatMap((run) => run.seconds.slice(-1)));
const [divisor, unit] = longest >= 7200 ? [3600, "hours"] : [60, "minutes"];
chart("chart-hypervolume", () => hypervolumeFigure("trials", "trials that a worker has ended", 1));
chart("chart-hypervolume-time", () => hypervolumeFigure("seconds", `worker-${unit}`, divisor));
chart("chart-bundle", bundleFigure);
chart("chart-stacks", stackFigure);
if (element("winners")) compareStacks();
if (element("confusion-winner")) {
  element("confusion-winner").addEventListener("change", () => redraw("chart-confusion"));
  chart("chart-confusion", confusionFigure);
}
chart("chart-sensitivity", sensitivityFigure);
chart("chart-repair", repairFigure);
begin().catch(failed);
if (data.refresh) setInterval(() => document.hidden || document.activeElement?.matches("input, select") || location.reload(), 1000 * data.refresh);
