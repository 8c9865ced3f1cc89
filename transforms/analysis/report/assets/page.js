"use strict";
// The page shows its tables without this script. The script draws the charts and applies the threshold.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const STEPS = data.steps_per_point;

  // The numbers are little-endian, as on every machine that runs a browser.
  const array = (Kind, text) => new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const steps = (packed) => ({ count: array(Uint32Array, packed.count), seconds: array(Float64Array, packed.seconds) });
  const all = steps(data.steps);
  const thresholds = Array.from(all.count, (_, index) => (data.first_step + index) / STEPS);
  const sum = (values, from = 0) => { let total = 0; for (let i = from; i < values.length; i++) total += values[i]; return total; };
  const total = { count: sum(all.count), seconds: sum(all.seconds) };

  // Plotly interprets some HTML in texts, so names are escaped.
  const asText = (name) => name.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (name) => (name.length > 32 ? name.slice(0, 20) + "…" + name.slice(-10) : name);
  // Formats like `length` in page.py.
  const length = (seconds) => {
    if (Number(seconds.toFixed(1)) < 60) return seconds.toFixed(1) + " s";
    if (Number((seconds / 60).toFixed(1)) < 60) return (seconds / 60).toFixed(1) + " min";
    return (seconds / 3600).toLocaleString("en-US", { minimumFractionDigits: 1, maximumFractionDigits: 1 }) + " h";
  };
  // Unit of the axes that show lengths.
  const [unitSeconds, unitName] = total.seconds >= 3600 ? [3600, "hours"] : total.seconds >= 60 ? [60, "minutes"] : [1, "seconds"];
  const integer = (value) => value.toLocaleString("en-US");
  const percent = (part, of) => (of ? (100 * part / of).toFixed(1) : "0.0") + " %";

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };
  const axis = (title, more) => ({
    title: { text: title }, gridcolor: colour("grid"), linecolor: colour("rule"), zerolinecolor: colour("grid"),
    fixedrange: true, automargin: true, ...more,
  });
  // A title of an axis that is longer than its chart, at some 10 pixels a letter, is broken at the space next to its middle.
  const inTwoLines = (title, id) => {
    if (10 * title.length < byId(id).clientWidth) return title;
    const half = title.indexOf(" ", title.length / 2);
    return half < 0 ? title : title.slice(0, half) + "<br>" + title.slice(half + 1);
  };
  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false,
    font: { color: colour("ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { l: 10, r: 10, t: 10, b: 10 }, bargap: 0.04, hovermode: "closest",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("rule"), font: { color: colour("ink") } }, ...more,
  });
  const chart = (id, traces, more) => Plotly.react(id, traces, layout(more), CONFIG);

  let thresholdIndex = Math.round(data.threshold * STEPS) - data.first_step;
  const thresholdLine = () => [{
    type: "line", xref: "x", yref: "paper", x0: thresholds[thresholdIndex], x1: thresholds[thresholdIndex], y0: 0, y1: 1,
    line: { color: colour("mark"), width: 2 },
  }];

  const unit = () => document.querySelector("input[name=unit]:checked").value;
  const scoreRange = [thresholds[0] - 0.05, thresholds[thresholds.length - 1] + 0.05];
  const BIN = 5;
  const drawHistogram = () => {
    const isLength = unit() === "length", title = isLength ? unitName : "utterances";
    const middle = [], height = [];
    for (let i = 0; i < thresholds.length; i += BIN) {
      let value = 0;
      for (let j = i; j < Math.min(i + BIN, thresholds.length); j++) value += isLength ? all.seconds[j] / unitSeconds : all.count[j];
      middle.push(thresholds[i] + BIN / STEPS / 2);
      height.push(value);
    }
    chart("histogram", [{
      type: "bar", x: middle, y: height, width: BIN / STEPS, marker: { color: colour("accent") },
      hovertemplate: "%{x:.2f}: %{y:,.3~g} " + title + "<extra></extra>",
    }], { xaxis: axis("score", { range: scoreRange }), yaxis: axis(title, { rangemode: "tozero" }), shapes: thresholdLine() });
  };
  const drawKept = () => {
    const kept = new Array(thresholds.length);
    for (let i = thresholds.length - 1, run = 0; i >= 0; i--) kept[i] = (run += all.seconds[i]) / unitSeconds;
    chart("kept", [{
      type: "scatter", mode: "lines", x: thresholds, y: kept, line: { color: colour("accent"), width: 2, shape: "hv" },
      fill: "tozeroy", fillcolor: colour("accent-soft") + "66",
      hovertemplate: `%{y:,.3~g} ${unitName} at %{x:.2f} and over<extra></extra>`,
    }], { xaxis: axis("threshold", { range: scoreRange }), yaxis: axis(unitName + " kept", { rangemode: "tozero" }), shapes: thresholdLine() });
  };

  const keptOf = (group) => ({ count: sum(group.count, thresholdIndex), seconds: sum(group.seconds, thresholdIndex) });
  const showKept = () => {
    const kept = keptOf(all);
    const text = thresholds[thresholdIndex].toFixed(2);
    byId("threshold").value = text;
    byId("threshold").setAttribute("aria-valuetext", text);
    if (document.activeElement !== byId("threshold-number")) byId("threshold-number").value = text;
    byId("kept-length").textContent = length(kept.seconds);
    byId("kept-length").value = kept.seconds;
    byId("kept-share").textContent = percent(kept.seconds, total.seconds);
    byId("kept-count").textContent = integer(kept.count);
    byId("dropped").textContent = length(total.seconds - kept.seconds);
    byId("command").textContent = byId("command").textContent.replace(/[\d.]+'$/, text + "'");
    document.querySelectorAll("[data-threshold]").forEach((node) => { node.textContent = "at " + text; });
    showKeptOfGroups();
    fillKept("#cause-table", causes);
  };
  const groupSteps = new Map();
  const fillKept = (table, groups) => {
    const cells = document.querySelectorAll(`${table} td[data-kept]`);
    groups.forEach((group, number) => {
      const kept = keptOf(group);
      cells[2 * number].textContent = length(kept.seconds);
      cells[2 * number + 1].textContent = percent(kept.seconds, sum(group.seconds));
    });
  };
  const causes = data.causes.map((group) => steps(group.steps));
  const showKeptOfGroups = () => {
    const column = Number(byId("column").value);
    if (!groupSteps.has(column)) groupSteps.set(column, data.groups[column].map((group) => steps(group.steps)));
    fillKept("#group-table-" + column, groupSteps.get(column));
  };

  // Bars of the causes: the dropped part follows the kept part.
  const causeTraces = () => {
    const kept = causes.map((group) => keptOf(group).seconds / unitSeconds);
    const dropped = causes.map((group, i) => sum(group.seconds) / unitSeconds - kept[i]);
    const rows = causes.map((_, i) => i);
    return [["kept", kept, "accent"], ["dropped", dropped, "accent-soft"]].map(([name, x, shade]) => ({
      type: "bar", orientation: "h", y: rows, x, name, marker: { color: colour(shade) }, width: 0.7,
      hovertemplate: `%{x:,.3~g} ${unitName} ${name}<extra></extra>`,
    }));
  };
  const drawCauses = () => {
    byId("causes-chart").parentNode.hidden = !causes.length;
    if (!causes.length) return;
    const height = 16 * (5.5 + 1.7 * causes.length);
    byId("causes-chart").style.minHeight = height + "px";
    chart("causes-chart", causeTraces(), {
      height, barmode: "stack", showlegend: true, legend: { orientation: "h", x: 0, y: 1, xanchor: "left", yanchor: "bottom", traceorder: "normal" },
      xaxis: axis(unitName, { rangemode: "tozero" }),
      yaxis: axis("", { tickvals: causes.map((_, i) => i), ticktext: data.causes.map((group) => (group.name === "(none)" ? "(no cause)" : asText(group.name))),
        range: [causes.length - 0.5, -0.5], showgrid: false, zeroline: false }),
    });
  };

  const drawGroups = () => {
    const column = Number(byId("column").value);
    document.querySelectorAll("#groups-tables > div").forEach((node) => { node.hidden = node.id !== "group-table-" + column; });
    const groups = data.groups[column];
    const names = groups.map((group) => asText(short(group.name)));
    const quantile = (i) => groups.map((group) => group.quantiles[i]);
    const rows = groups.map((_, i) => i);
    byId("groups-chart").style.minHeight = Math.max(12, 4.5 + 1.7 * groups.length) + "rem";
    chart("groups-chart", [{
      type: "box", orientation: "h", y: rows, lowerfence: quantile(0), q1: quantile(1), median: quantile(2), q3: quantile(3), upperfence: quantile(4),
      marker: { color: colour("accent") }, line: { width: 1.5 }, fillcolor: colour("accent-soft") + "88", hoverinfo: "x", width: 0.6,
    }], {
      height: 16 * Math.max(12, 4.5 + 1.7 * groups.length), shapes: thresholdLine(),
      xaxis: axis("score", { range: scoreRange, side: "bottom" }),
      yaxis: axis("", { tickvals: rows, ticktext: names, range: [groups.length - 0.5, -0.5], showgrid: false, zeroline: false }),
    });
    showKeptOfGroups();
  };

  const drawFact = () => {
    const fact = data.facts[Number(byId("fact").value)];
    const density = array(Uint32Array, fact.density);
    const columns = fact.bins, rows = density.length / columns;
    const width = (fact.high - fact.low) / columns;
    const middle = Array.from({ length: columns }, (_, c) => fact.low + (c + 0.5) * width);
    const number = new Array(columns).fill(0), log = [], counts = [];
    for (let r = 0; r < rows; r++) {
      const row = Array.from(density.subarray(r * columns, (r + 1) * columns));
      row.forEach((value, c) => { number[c] += value; });
      counts.push(row);
      log.push(row.map((value) => (value ? Math.log10(value) : null)));
    }
    const score = Array.from({ length: rows }, (_, r) => thresholds[0] + (r + 0.5) * data.score_bin / STEPS);
    const title = fact.unit ? `${fact.title} (${fact.unit})` : fact.title;
    const noun = fact.title.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
    byId("fact-title").textContent = `Utterances by ${noun}`;
    byId("density-title").textContent = `Score and ${noun}: utterances in each cell`;
    document.querySelectorAll("#fact-table tbody tr").forEach((row, i) => row.classList.toggle("chosen", i === Number(byId("fact").value)));
    const ends = [fact.low, fact.high];
    chart("fact-chart", [{
      type: "bar", x: middle, y: number, width, marker: { color: colour("accent") },
      hovertemplate: "%{x:.3~g}: %{y:,} utterances<extra></extra>",
    }], { xaxis: axis(inTwoLines(title, "fact-chart"), { range: ends }), yaxis: axis("utterances", { rangemode: "tozero" }) });
    const highest = Math.max(1, ...counts.map((row) => Math.max(...row)));
    const ticks = Array.from({ length: Math.floor(Math.log10(highest)) + 1 }, (_, i) => i);
    chart("density-chart", [{
      type: "heatmap", x: middle, y: score, z: log, customdata: counts, zmin: -0.3, zmax: Math.max(0.3, Math.log10(highest)),
      colorscale: [[0, colour("accent-soft")], [0.5, colour("accent")], [1, colour("ink")]], hoverongaps: false,
      colorbar: { tickvals: ticks, ticktext: ticks.map((i) => integer(10 ** i)), thickness: 12, outlinewidth: 0 },
      hovertemplate: "%{x:.3~g}, score %{y:.2f}: %{customdata:,} utterances<extra></extra>",
    }], { xaxis: axis(inTwoLines(title, "density-chart"), { range: ends }), yaxis: axis("score", { range: scoreRange }) });
  };

  const drawAll = () => { drawHistogram(); drawKept(); drawGroups(); drawFact(); drawCauses(); };
  let redrawPending = false;
  const setThreshold = (value) => {
    if (!Number.isFinite(value)) return;
    thresholdIndex = Math.min(thresholds.length - 1, Math.max(0, Math.round(value * STEPS) - data.first_step));
    showKept();
    if (redrawPending) return;
    redrawPending = true;
    requestAnimationFrame(() => {
      redrawPending = false;
      for (const id of ["histogram", "kept", "groups-chart"]) Plotly.relayout(id, { shapes: thresholdLine() });
      if (causes.length) Plotly.restyle("causes-chart", { x: causeTraces().map((trace) => trace.x) });
    });
  };
  byId("threshold").addEventListener("input", (event) => setThreshold(Number(event.target.value)));
  byId("threshold-number").addEventListener("input", (event) => setThreshold(event.target.value === "" ? NaN : Number(event.target.value)));
  byId("threshold-number").addEventListener("blur", showKept);
  document.querySelectorAll("input[name=unit]").forEach((node) => node.addEventListener("change", drawHistogram));
  byId("column").addEventListener("change", drawGroups);
  byId("fact").addEventListener("change", drawFact);
  // Charts keep the colours with which they were drawn. A printed page is always light.
  matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((node) => { node.open = true; }));
  // The bar covers the top of the window, so sections that are scrolled to begin below it.
  const bar = document.querySelector(".threshold");
  new ResizeObserver(() => {
    const covers = getComputedStyle(bar).position === "sticky";
    document.documentElement.style.scrollPaddingTop = covers ? bar.offsetHeight + 8 + "px" : "";
  }).observe(bar);
  const copyButton = byId("copy");
  copyButton.hidden = false;
  copyButton.addEventListener("click", async () => {
    getSelection().selectAllChildren(byId("command"));
    let copied = true;
    try {
      await navigator.clipboard.writeText(byId("command").textContent);
    } catch {
      copied = document.execCommand("copy"); // browsers that keep the clipboard from local files
    }
    copyButton.textContent = copied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { copyButton.textContent = "Copy"; }, 2000);
  });
  // Only one player plays at a time.
  addEventListener("play", (event) => {
    document.querySelectorAll("audio").forEach((node) => { if (node !== event.target) node.pause(); });
  }, true);

  drawAll();
  showKept();
  document.documentElement.dataset.ready = "yes";
})();
