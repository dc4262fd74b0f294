// The look that all charts share, and their drawing by Plotly: when they come into sight, and anew in another theme.
//
// Colours are Okabe and Ito's, distinct under any colour vision; where colour has a meaning, shape, dash or pattern
// differs as well. On a dark page, and not on paper, lighter ones of them are taken.

const dark = matchMedia("(prefers-color-scheme: dark)"), paper = matchMedia("print");
const isDark = () => dark.matches && !paper.matches;
const palette = () => isDark()
  ? {ink: "#e6e9ec", soft: "#a7b0b8", line: "#343b42", blue: "#56b4e9", red: "#ff8c4a", green: "#2fc99b", orange: "#f0b93a",
     purple: "#e39cc3", grey: "#87919a", back: "#15181b"}
  : {ink: "#1d2125", soft: "#5b6670", line: "#e3e6e9", blue: "#0072b2", red: "#d55e00", green: "#009e73", orange: "#e69f00",
     purple: "#cc79a7", grey: "#8b949c", back: "#ffffff"};
const series = () => { const c = palette(); return [c.blue, c.red, c.green, c.orange, c.purple, isDark() ? "#0090e0" : "#56b4e9", c.ink]; };
const DASHES = ["solid", "dash", "dashdot", "dot", "longdash", "longdashdot", "solid"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star"];
const PATTERNS = ["", "/", "x", ".", "\\", "-", "+"];
const CONFIG = {responsive: true, displaylogo: false, displayModeBar: "hover",
                modeBarButtonsToRemove: ["sendDataToCloud", "autoScale2d"]};

const axis = (text, more = {}) => ({
  title: {text, standoff: 8}, automargin: true, gridcolor: palette().line, linecolor: palette().soft, zeroline: false,
  ticks: "outside", ticklen: 4, tickcolor: palette().line, ...more,
});

function layout(more = {}) {
  const colours = palette();
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: {l: 56, r: 30, t: 12, b: 48},
    font: {family: getComputedStyle(document.body).fontFamily, size: 13, color: colours.ink}, autosize: true,
    legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, bgcolor: "rgba(0,0,0,0)"}, hovermode: "closest",
    modebar: {orientation: "v", bgcolor: "rgba(0,0,0,0)", color: colours.soft, activecolor: colours.blue},
    hoverlabel: {bgcolor: colours.back, bordercolor: colours.soft, font: {color: colours.ink}}, ...more,
  };
}

const charts = [];  // [id, () => [traces, layout, config]], in the order of the page

function chart(id, figure, ready = () => {}) {
  if (element(id)) charts.push({id, figure, ready});
}

async function draw({id, figure, ready}) {
  const place = element(id), first = !place.classList.contains("js-plotly-plot");
  const [traces, look, config] = figure();
  place.drawing = true;  // Plotly reports marks that it draws as if they had been made
  await Plotly.react(place, traces, look, {...CONFIG, ...config});
  place.drawing = false;
  if (first) ready(place);
}

const waiting = new Set();

function redraw(id) {  // in the frame after next: the table is painted first, and what changes meanwhile is drawn once
  if (!window.Plotly || waiting.has(id)) return;
  waiting.add(id);
  requestAnimationFrame(() => requestAnimationFrame(() => {
    waiting.delete(id);
    charts.filter((each) => each.id === id && (isDrawn(each) || id === "chart-curves")).forEach(draw);
  }));
}

async function loadLibrary() {  // gzip in base64: a third of its size, and inflated in a quarter of a second
  const raw = Uint8Array.from(atob(element("library").textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

const isDrawn = (each) => element(each.id).classList.contains("js-plotly-plot");
const drawAll = () => Promise.all(charts.map(draw));

async function begin() {  // charts in sight at once, others when they come near, all of them for paper
  await loadLibrary();
  const near = new IntersectionObserver((entries) => entries.filter((entry) => entry.isIntersecting).forEach(({target}) => {
    near.unobserve(target);
    const each = charts.find(({id}) => id === target.id);
    if (!isDrawn(each)) draw(each);
  }), {rootMargin: "300px"});
  if (charts.length) await draw(charts[0]);
  document.documentElement.dataset.drawn = "first";
  for (const {id} of charts) near.observe(element(id));
  dark.addEventListener("change", () => charts.filter(isDrawn).forEach(draw));
  paper.addEventListener("change", async () => {
    await drawAll();
    for (const {id} of charts) Plotly.Plots.resize(element(id));
  });
}

function failed(error) {
  for (const place of document.querySelectorAll(".chart:empty"))
    place.append(make("p", {class: "soft"}, `The charts cannot be drawn by this browser: ${error.message}. The tables have all values.`));
}
