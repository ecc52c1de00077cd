"use strict";
// The trade explorer: a list of trades, and for the one chosen its bars, what the signal measured, its stop and
// its fills. The block of data is described in reports/explorer.py; text from it only ever becomes text nodes.
const book = { header: null, columns: [], found: [], chosen: -1 };
const SHOWN = 200, BEFORE = 60, AFTER = 10;
const UP = "#0072B2", DOWN = "#D55E00", NAVY = "#1b1f24";

function unpack(buffer) {
  const view = new DataView(buffer), length = view.getUint32(0, true);
  book.header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const bytes = new Uint8Array(buffer, 4 + length), n = bytes.length / 24;
  for (let c = 0; c < 6; c++) {
    const column = new Int32Array(n), at = c * 4 * n;
    for (let i = 0; i < n; i++) {
      const z = bytes[at + i] | bytes[at + n + i] << 8 | bytes[at + 2 * n + i] << 16 | bytes[at + 3 * n + i] << 24;
      column[i] = (z >>> 1) ^ -(z & 1);
    }
    book.columns.push(column);
  }
}

// The bars of a symbol: {day, open, high, low, close, volume}, in order of time.
function barsOf(symbol) {
  const h = book.header, s = h.symbols.indexOf(symbol);
  if (s < 0) return [];
  const [days, closes, opens, highs, lows, volumes] = book.columns, bars = [];
  let day = 0, close = 0;
  const price = ticks => Number((ticks * h.ticks[s]).toPrecision(7));
  for (let i = h.starts[s]; i < h.starts[s + 1]; i++) {
    const before = close;
    day += days[i]; close += closes[i];
    const open = before + opens[i];
    bars.push({ day: h.days[day], index: day, open: price(open), high: price(Math.max(open, close) + highs[i]),
      low: price(Math.min(open, close) - lows[i]), close: price(close), volume: Math.pow(10, volumes[i] / h.volume_steps) - 1 });
  }
  return bars;
}

const number = (value, digits) => value === null || value === undefined ? "–" : Number(value).toLocaleString("en-US", { maximumSignificantDigits: digits || 6 });
const percent = value => value === null ? "–" : (value < 0 ? "−" : "+") + (100 * Math.abs(value)).toFixed(1) + "\u00a0%";
const dollars = value => (value < 0 ? "−$" : "$") + Math.abs(value).toLocaleString("en-US", { maximumFractionDigits: 0 });
const signedR = value => value === null ? "no R" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2) + "\u00a0R";

const counted = (n, plural) => `${n.toLocaleString("en-US")} ${n === 1 ? plural.slice(0, -1) : plural}`;

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const key in attributes || {}) made.setAttribute(key, attributes[key]);
  return made;
}

function search() {
  const t = book.header.trades, wanted = byId("trade-search").value.trim().toUpperCase();
  const strategy = byId("trade-strategy").value, order = byId("trade-order").value;
  book.found = [];
  for (let i = 0; i < t.symbol.length; i++) {
    if (strategy && t.strategy[i] !== strategy) continue;
    if (order === "open" && !isOpen(i)) continue;
    if (wanted && !t.symbol[i].toUpperCase().startsWith(wanted) && !t.entry_date[i].startsWith(wanted)) continue;
    book.found.push(i);
  }
  const key = { newest: i => -i, best: i => -t.pnl[i], worst: i => t.pnl[i], "best-r": i => -(t.r_multiple[i] ?? -1e9), open: i => -(t.r_multiple[i] ?? -1e9), held: i => -t.bars_held[i] }[order];
  if (order === "newest") book.found.sort((a, b) => t.entry_date[a] < t.entry_date[b] ? 1 : t.entry_date[a] > t.entry_date[b] ? -1 : a - b);
  else book.found.sort((a, b) => key(a) - key(b) || a - b);
  list();
}

const isOpen = i => book.header.trades.exit_reason[i] === "open";

function list() {
  const t = book.header.trades, place = byId("trade-list");
  place.replaceChildren(...book.found.slice(0, SHOWN).map(i => {
    const button = element("button", null, { type: "button", "data-trade": i, "aria-current": String(i === book.chosen) });
    button.append(element("strong", t.symbol[i]), element("span", signedR(t.r_multiple[i]), { class: t.pnl[i] < 0 ? "loss" : "" }),
      element("span", `${t.entry_date[i]} · ${t.strategy[i].replaceAll("_", " ")} · ${isOpen(i) ? "open · " : ""}${dollars(t.pnl[i])}`, { class: "sub" }));
    button.addEventListener("click", () => showTrade(i));
    const item = element("li"); item.append(button); return item;
  }));
  const n = book.found.length;
  byId("trade-count").textContent = n === 0 ? "No trade matches." : n > SHOWN ? `${SHOWN} of ${n.toLocaleString("en-US")} shown; search to narrow.` : counted(n, "trades");
}

const level = (name, x0, x1, y, colour, dash) => ({ type: "scatter", mode: "lines", x: [x0, x1], y: [y, y], name, line: { color: colour, width: 1.5, dash: dash || "dot" }, hovertemplate: name + " %{y:.4~g}<extra></extra>" });

// A stop that moved: what a close made of it holds from the next bar on.
function stopOverTime(moved, initial, entry, exit, at) {
  const x = [entry], y = [initial];
  for (const [day, price] of moved) { const k = at(day); if (k >= entry && k < exit) { x.push(k + 1); y.push(price); } }
  x.push(exit); y.push(y[y.length - 1]);
  return { type: "scatter", mode: "lines", x, y, name: "stop", line: { color: "#b3261e", width: 1.5, shape: "hv" }, hovertemplate: "stop %{y:.4~g}<extra></extra>" };
}

// Bars without volume count for no strategy: the bar that is n bars with volume before another, -1 where there
// are not as many.
function back(bars, at, n) {
  let i = at;
  while (n > 0 && i >= 0) if (--i >= 0 && bars[i].volume > 0) n--;
  return i;
}

// An EMA through its value at the signal: onward by its definition, and back while rounding cannot show.
function ema(bars, at, value, span, name, colour) {
  const alpha = 2 / (span + 1), y = new Array(bars.length).fill(null);
  y[at] = value;
  for (let i = at + 1; i < bars.length; i++) y[i] = y[i - 1] + (bars[i].volume > 0 ? alpha * (bars[i].close - y[i - 1]) : 0);
  for (let i = at, growth = 1; i > 0 && growth < 60; i--) {
    if (!(bars[i].volume > 0)) { y[i - 1] = y[i]; continue; }
    y[i - 1] = (y[i] - alpha * bars[i].close) / (1 - alpha);
    growth /= 1 - alpha;
  }
  return { type: "scatter", mode: "lines", x: bars.map((_, i) => i), y, name, line: { color: colour, width: 1.5 }, hovertemplate: name + " %{y:.4~g}<extra></extra>" };
}

function measuredTraces(bars, at, m, parameters) {
  const traces = [], last = bars.length - 1;
  if (m.cup_bars !== undefined && m.pivot !== undefined) {
    // The signal's bar is in neither. Of a cup that begins before the bars that are here, only the handle is drawn.
    const lip = Math.max(0, back(bars, at, m.handle_bars + 1)), left = back(bars, lip, m.cup_bars);
    let bottom = Math.max(0, left);
    for (let i = bottom; i <= lip; i++) if (bars[i].close < bars[bottom].close) bottom = i;
    if (left >= 0) traces.push({ type: "scatter", mode: "lines", x: [left, bottom, lip], y: [m.left_rim, m.bottom, m.pivot], name: "cup", line: { color: "#7a5195", width: 2.5, shape: "spline", smoothing: 1.1 }, hovertemplate: "cup %{y:.4~g}<extra></extra>" });
    let low = lip;
    for (let i = lip; i < at; i++) if (bars[i].close < bars[low].close) low = i;
    traces.push({ type: "scatter", mode: "lines", x: [lip, low, at], y: [m.pivot, m.handle_low, m.pivot], name: "handle", line: { color: "#b8860b", width: 2.5 }, hovertemplate: "handle %{y:.4~g}<extra></extra>" });
    traces.push(level("pivot", Math.max(0, left), last, m.pivot, "#7a5195"));
  }
  if (m.upper !== undefined && m.lower !== undefined) {
    const first = Math.max(0, back(bars, at, parameters.consolidation_window || 20));
    traces.push({ type: "scatter", mode: "lines", fill: "toself", fillcolor: "rgba(122,81,149,.12)", x: [first, at - 1, at - 1, first, first], y: [m.upper, m.upper, m.lower, m.lower, m.upper], name: "range", line: { color: "#7a5195", width: 1.2 }, hoverinfo: "skip" });
    traces.push(level("upper", at - 1, last, m.upper, "#7a5195"));
  }
  if (m.fast !== undefined && m.slow !== undefined) {
    traces.push(ema(bars, at, m.fast, parameters.fast_span || 10, `EMA ${parameters.fast_span || 10}`, "#7a5195"));
    traces.push(ema(bars, at, m.slow, parameters.slow_span || 30, `EMA ${parameters.slow_span || 30}`, "#E69F00"));
  }
  if (m.high_252 !== undefined) traces.push(level("252-bar high", 0, last, m.high_252, "#7a5195"));
  if (traces.length === 0 && m.pivot !== undefined) traces.push(level("pivot", 0, last, m.pivot, "#7a5195"));
  return traces;
}

function windowOf(i, m) {
  const t = book.header.trades, all = barsOf(t.symbol[i]);
  const first = all.findIndex(bar => bar.day >= t.entry_date[i]), after = all.findIndex(bar => bar.day > t.exit_date[i]);
  if (first < 0) return [];
  const before = Math.max(BEFORE, (m.cup_bars || 0) + (m.handle_bars || 0) + 20), start = Math.max(0, back(all, first, before));
  const bars = all.slice(start, Math.min(all.length, (after < 0 ? all.length : after) + AFTER));
  // Only bars without a hole: those of another trade of the symbol may lie years back.
  let from = 0;
  for (let k = 1; k < first - start; k++) if (Date.parse(bars[k].day) - Date.parse(bars[k - 1].day) > 61 * 864e5) from = k;
  let to = bars.length;
  for (let k = first - start + 1; k < bars.length; k++) if (bars[k].day > t.exit_date[i] && Date.parse(bars[k].day) - Date.parse(bars[k - 1].day) > 14 * 864e5) { to = k; break; }
  return bars.slice(from, to);
}

function showTrade(i, scroll) {
  if (!book.header) { openExplorer().then(() => showTrade(i, scroll)); return; }
  book.chosen = i;
  document.querySelectorAll("#trade-list button").forEach(b => b.setAttribute("aria-current", String(Number(b.dataset.trade) === i)));
  const h = book.header, t = h.trades, signal = h.signals[i], names = h.measured[t.strategy[i]] || [];
  const m = {};
  if (signal) names.forEach((name, k) => { const value = signal[k + 2]; if (value !== null && value !== undefined) m[name] = value; });
  const bars = windowOf(i, m);
  byId("trade-title").textContent = `${t.symbol[i]}, ${t.strategy[i].replaceAll("_", " ")}: ${signedR(t.r_multiple[i])}, ${percent(t.return[i])}, ${dollars(t.pnl[i])}`;
  byId("trade-facts").textContent = isOpen(i)
    ? `Open since ${t.entry_date[i]}, ${counted(t.bars_held[i], "bars")}, worth ${number(t.exit_price[i])} a share at the last close, before the costs of selling.`
    : `${t.entry_date[i]} to ${t.exit_date[i]}, ${counted(t.bars_held[i], "bars")}, ended by ${t.exit_reason[i].replaceAll("_", " ")}. Worst ${percent(t.mae[i])}, best ${percent(t.mfe[i])} while held.`;
  measurements(i, m, signal);
  fills(i);
  const place = byId("trade-chart");
  if (bars.length === 0) { Plotly.purge(place); place.replaceChildren(element("p", "The bars of this trade were left out to keep the page small.", { class: "note" })); return; }
  chart(place, i, bars, m, signal);
  if (scroll) byId("explorer").scrollIntoView();
}

function chart(place, i, bars, m, signal) {
  const h = book.header, t = h.trades, x = bars.map((_, k) => k), at = day => bars.findIndex(bar => bar.day === day);
  const candle = { type: "candlestick", x, open: bars.map(b => b.open), high: bars.map(b => b.high), low: bars.map(b => b.low), close: bars.map(b => b.close), name: t.symbol[i].replace(/&/g, "&amp;").replace(/</g, "&lt;"), showlegend: false,
    increasing: { line: { color: UP, width: 1 }, fillcolor: "#fff" }, decreasing: { line: { color: DOWN, width: 1 }, fillcolor: DOWN },
    text: bars.map(b => `${b.day}<br>open ${number(b.open)}  high ${number(b.high)}<br>low ${number(b.low)}  close ${number(b.close)}<br>volume ${number(b.volume, 3)}`), hoverinfo: "text" };
  const volume = { type: "bar", x, y: bars.map(b => b.volume), yaxis: "y2", marker: { color: "#c3c9d1" }, name: "volume", showlegend: false, hoverinfo: "skip" };
  const traces = [candle, volume];
  const known = signal ? at(signal[0]) : -1;
  if (known >= 0) {
    traces.push(...measuredTraces(bars, known, m, h.parameters[t.strategy[i]] || {}));
    traces.push({ type: "scatter", mode: "markers", x: [known], y: [bars[known].low], name: "signal", marker: { symbol: "diamond", size: 9, color: "#7a5195", line: { color: "#fff", width: 1 } }, hovertemplate: `signal ${signal[0]}<extra></extra>` });
  }
  const entry = at(t.entry_date[i]), exit = at(t.exit_date[i]);
  const moved = h.stops[i];
  if (moved && entry >= 0) traces.push(stopOverTime(moved, t.initial_stop[i], entry, exit < 0 ? bars.length - 1 : exit, at));
  if (t.initial_stop[i] !== null && entry >= 0) traces.push(level("initial stop", entry, exit < 0 ? bars.length - 1 : exit, t.initial_stop[i], "#b3261e", "dash"));
  for (const [side, symbol, colour] of [["BUY", "triangle-up", "#009E73"], ["SELL", "triangle-down", NAVY]]) {
    const rows = h.fills[i].filter(fill => fill[1] === side && at(fill[0]) >= 0);
    if (rows.length) traces.push({ type: "scatter", mode: "markers", x: rows.map(r => at(r[0])), y: rows.map(r => r[3]), name: side === "BUY" ? "bought" : "sold", text: rows.map(r => `${r[0]} ${r[1].toLowerCase()} ${number(r[2])} at ${number(r[3])}, ${r[4].replaceAll("_", " ")}`), hovertemplate: "%{text}<extra></extra>", marker: { symbol, size: 12, color: colour, line: { color: "#fff", width: 1.5 } } });
  }
  const step = Math.max(1, Math.ceil(bars.length / Math.max(2, Math.floor(place.clientWidth / 100)))), ticks = x.filter(k => k % step === 0);
  const shapes = entry < 0 ? [] : [{ type: "rect", xref: "x", yref: "paper", x0: entry - 0.5, x1: (exit < 0 ? bars.length - 1 : exit) + 0.5, y0: 0, y1: 1, fillcolor: "rgba(31,95,168,.06)", line: { width: 0 }, layer: "below" }];
  const own = layout({ height: 460, hovermode: "closest", shapes, margin: { t: 52 },
    xaxis: { type: "linear", rangeslider: { visible: false }, tickvals: ticks, ticktext: ticks.map(k => tick(bars[k].day)), tickangle: 0, range: [-1, bars.length] },
    yaxis: { domain: [0.2, 1] } });
  own.yaxis2 = { domain: [0, 0.15], showgrid: false, showticklabels: false, fixedrange: true };
  Plotly.react(place, traces, own, CONFIG);
  place.dataset.trade = i;
}

// Of an instant, month, day and time: the year is in the title, and the zone with it.
const tick = day => day.length > 10 ? `${day.slice(5, 10)} ${day.slice(11, 16)}` : day;

function measurements(i, m, signal) {
  const place = byId("trade-measures");
  const pairs = signal ? [["signal", signal[0]], ["confidence", number(signal[1], 3)], ...Object.keys(m).map(name => [name.replaceAll("_", " "), number(m[name], 5)])] : [["signal", "not recorded"]];
  place.replaceChildren(...pairs.map(([name, value]) => { const box = element("div"); box.append(element("dt", name), element("dd", value)); return box; }));
}

function fills(i) {
  byId("trade-fills").replaceChildren(...book.header.fills[i].map(fill => {
    const row = element("tr");
    row.append(element("td", fill[0]), element("td", fill[1].toLowerCase(), { class: "left" }), element("td", number(fill[2])), element("td", number(fill[3])), element("td", fill[4].replaceAll("_", " "), { class: "left" }));
    return row;
  }));
}

let opening = null;
function openExplorer() {
  if (!opening) opening = page.ready.then(() => inflated("packed-trades")).then(buffer => {
    unpack(buffer);
    for (const name of new Set(book.header.trades.strategy)) byId("trade-strategy").append(element("option", name.replaceAll("_", " "), { value: name }));
    for (const id of ["trade-search", "trade-strategy", "trade-order"]) byId(id).addEventListener("input", search);
    search();
    if (book.found.length) showTrade(book.found[0]);
    document.documentElement.dataset.explorer = "ready";
  });
  return opening;
}

if (byId("packed-trades")) new IntersectionObserver((seen, watch) => {
  if (seen.some(entry => entry.isIntersecting)) { watch.disconnect(); openExplorer(); }
}, { rootMargin: "300px" }).observe(byId("explorer"));
