"use strict";
// Draws the charts of the page. Plotly and the data come deflated, in script elements that hold base64, so that
// the page is there at once and the charts follow; a page made for printing holds them as they are.
const byId = id => document.getElementById(id);
const FONT = { family: "system-ui, -apple-system, Segoe UI, Roboto, Helvetica Neue, Arial, sans-serif", size: 12, color: "#3d4650" };
const CONFIG = { displaylogo: false, showSendToCloud: false, responsive: true, displayModeBar: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"], doubleClick: "reset" };
const page = { charts: {}, dates: [], drawn: new Set(), ready: null };

async function inflated(id) {
  const text = atob(byId(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  byId(id).remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function layout(own) {
  const narrow = window.innerWidth < 760 && !byId("plain-charts");
  const axis = (extra, given) => Object.assign({ linecolor: "#c9ced5", gridcolor: "#eceff2", zeroline: false,
    tickfont: { size: narrow ? 11 : 12 }, fixedrange: narrow }, extra, given || {});
  const below = narrow && own.tall;  // Many names: under the chart, where they do not take its room
  return Object.assign({}, own, below ? { height: own.height + own.tall } : {}, {
    font: FONT, paper_bgcolor: "#fff", plot_bgcolor: "#fff", hovermode: own.hovermode || "x unified",
    margin: Object.assign({ l: narrow ? 44 : 56, r: narrow ? 10 : 28, t: own.showlegend === false ? 10 : 34, b: 36 }, own.margin || {}),
    legend: Object.assign({ orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, itemsizing: "constant" },
      below ? { y: -0.1, yanchor: "top", font: { size: 11 }, entrywidthmode: "fraction", entrywidth: 0.5, maxheight: 1 } : {}),
    hoverlabel: { font: FONT, bordercolor: "#c9ced5" },
    xaxis: axis({ type: "date", showgrid: false }, own.xaxis), yaxis: axis({ automargin: true }, own.yaxis) });
}

function draw(id) {
  const figure = page.charts[id], place = byId(id);
  if (!figure || !place || page.drawn.has(id)) return;
  page.drawn.add(id);
  for (const trace of figure.data) if (trace.x === "@dates") {
    trace.x = page.dates;
    figure.layout.xaxis = Object.assign({ range: [page.dates[0], page.dates[page.dates.length - 1]] }, figure.layout.xaxis);
  }
  place.replaceChildren();
  Plotly.newPlot(place, figure.data, layout(figure.layout), CONFIG);
  if (id === "excursions") place.on("plotly_click", event => window.showTrade && showTrade(event.points[0].customdata, true));
}

function drawAll() { document.querySelectorAll(".chart").forEach(place => draw(place.id)); }

function begin(data) {
  page.charts = data.charts; page.dates = data.dates;
  const watch = new IntersectionObserver(seen => seen.forEach(entry => {
    if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target.id); }
  }), { rootMargin: "200px" });
  document.querySelectorAll(".chart").forEach(place => { if (page.charts[place.id]) watch.observe(place); });
  // Paper is 182 mm wide inside its margins; charts keep the width they were drawn with.
  window.addEventListener("beforeprint", () => {
    drawAll();
    for (const id of page.drawn) Plotly.relayout(id, { width: byId(id).closest(".pair, .grid") ? 330 : 680 });
  });
  window.addEventListener("afterprint", () => { for (const id of page.drawn) Plotly.relayout(id, { width: null, autosize: true }); });
  document.documentElement.dataset.ready = "yes";
}

// One frame later than the next one: what the page shows by itself is on the screen before Plotly takes the
// browser for itself.
const painted = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));

document.querySelectorAll("[data-axis]").forEach(button => button.addEventListener("click", async () => {
  await page.ready;
  const id = button.dataset.chart; draw(id);
  button.parentNode.querySelectorAll("button").forEach(other => other.setAttribute("aria-pressed", String(other === button)));
  Plotly.relayout(id, { "yaxis.type": button.dataset.axis, "yaxis.autorange": true });
}));

async function start() {
  if (byId("plain-charts")) { begin(JSON.parse(byId("plain-charts").textContent)); drawAll(); return; }
  await painted();
  const [library, data] = await Promise.all([inflated("packed-plotly"), inflated("packed-charts")]);
  const text = new TextDecoder();
  const script = document.createElement("script");
  script.textContent = text.decode(library);
  document.head.append(script);
  begin(JSON.parse(text.decode(data)));
  if (location.hash === "#print") drawAll();
}

page.ready = start().catch(error => {
  byId("trouble").hidden = false;
  byId("trouble").textContent = "The charts need a browser of 2023 or newer (" + error.message + "). The tables and the CSV files beside this page hold the same numbers.";
});
