"use strict";
// From a panel's numbers to Plotly's traces and layout. Colours come from CSS alone.
const bnkitPlots = (() => {
  const LEVELS = 14;
  const DASHES = JSON.parse(document.getElementById("looks").textContent);
  const HEIGHT_PX = 320, MOST_MARKERS = 12, MOST_TICKS = 8;
  const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Plotly reads a little HTML in its labels.
  const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const digits = (value) => value === null || value === undefined ? "n/a"
    : Number(value.toPrecision(4)).toString().replace("-", "−");
  const seedsText = (count) => `${count} seed${count === 1 ? "" : "s"}`;

  function translucent(colour, alpha) {
    const value = parseInt(colour.slice(1), 16);
    return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
  }

  // A centred running mean over drawn points; a gap stays one.
  function smooth(values, width) {
    if (!values || width <= 1) return values;
    const half = (width - 1) / 2;
    return values.map((value, place) => {
      if (value === null) return null;
      const near = values.slice(Math.max(0, place - half), place + half + 1).filter((v) => v !== null);
      return near.reduce((sum, each) => sum + each, 0) / near.length;
    });
  }

  const along = (item, state, xs = item.x) =>
    item.pace === null || state.axis === "step" ? xs : xs.map((x) => x / item.pace);

  // Stretches without gaps, as outlines: along the lower edge and back along the upper one.
  function outline(xs, low, high) {
    const x = [], y = [];
    let start = 0;
    for (let end = 0; end <= xs.length; end += 1) {
      if (end < xs.length && low[end] !== null && high[end] !== null) continue;
      if (end > start) {
        if (x.length) { x.push(null); y.push(null); }
        x.push(...xs.slice(start, end), ...xs.slice(start, end).reverse());
        y.push(...low.slice(start, end), ...high.slice(start, end).reverse());
      }
      start = end + 1;
    }
    return { x, y };
  }

  function band(xs, low, high, ink, alpha) {
    return { type: "scatter", mode: "lines", ...outline(xs, low, high), fill: "toself",
             line: { width: 0 }, fillcolor: translucent(ink, alpha), hoverinfo: "skip" };
  }

  function lineTraces(line, view, state, arms) {
    const look = DASHES[line.arm], ink = cssColour(`--arm-${look.colour}`);
    const isTime = line.pace !== null, width = isTime ? state.smoothing : 1;
    const xs = along(line, state);
    // Against the grid only means and intervals are drawn, whatever is chosen for the curves.
    const shape = line.trials.length ? state.band : "interval";
    const edges = { interval: [line.low, line.high], range: [line.least, line.most] }[shape];
    const common = { type: "scatter", name: plain(arms[line.arm]) };
    const dash = { dash: look.dash, color: ink };
    const traces = [];
    const mean = smooth(line.mean, width);
    if (shape === "trials") {
      for (const trial of line.trials) {
        traces.push({ ...common, mode: isTime ? "lines" : "markers", x: xs,
          y: smooth(trial.values ?? line.mean, width), line: { ...dash, width: 1 },
          marker: { symbol: look.marker, color: ink, size: 6 }, opacity: 0.7,
          hovertemplate: `%{y:.4~g} (seed ${trial.seed})` });
      }
    } else {
      const shown = edges[0] ? edges.map((edge) => smooth(edge, width)) : null;
      if (shown && isTime) traces.push(band(xs, shown[0], shown[1], ink, 0.2));
      const trace = { ...common, mode: "lines+markers", x: xs, y: mean, customdata: line.mean.map((_, k) => {
          const count = seedsText(Array.isArray(line.seeds) ? line.seeds[k] : line.seeds);
          return shown ? `[${digits(shown[0][k])}, ${digits(shown[1][k])}], ${count}` : count;
        }), hovertemplate: "%{y:.4~g} %{customdata}", line: { ...dash, width: 2 },
        marker: { symbol: look.marker, size: 7, color: ink, ...(isTime ? { maxdisplayed: MOST_MARKERS } : {}) } };
      if (shown && !isTime) {
        trace.error_y = { type: "data", symmetric: false, color: ink, thickness: 1.5, width: 5,
          array: mean.map((value, k) => value === null || shown[1][k] === null ? 0 : shown[1][k] - value),
          arrayminus: mean.map((value, k) => value === null || shown[0][k] === null ? 0 : value - shown[0][k]) };
      }
      traces.push(trace);
    }
    if (line.marks.length) {
      const [bottom, top] = limits(view, state);
      traces.push({ ...common, mode: "markers", x: along(line, state, line.marks.map((mark) => mark.x)),
        y: line.marks.map((mark) => Math.min(Math.max(mark.y, bottom), top)),
        customdata: line.marks.map((mark) => plain(mark.text)), hovertemplate: "%{customdata}",
        marker: { symbol: "x", size: 11, color: ink }, cliponaxis: false });
    }
    return traces;
  }

  function spanTraces(span, _view, state, arms) {
    const look = DASHES[span.arm], ink = cssColour(`--arm-${look.colour}`), xs = along(span, state);
    const name = plain(arms[span.arm]), traces = [];
    const edge = { width: span.middle === null ? 1.5 : 0, color: ink, dash: look.dash };
    for (const each of span.bands) {
      const low = smooth(each.low, state.smoothing), high = smooth(each.high, state.smoothing);
      traces.push(band(xs, low, high, ink, 0.22));
      traces.push({ type: "scatter", mode: "lines", x: xs, y: low, line: edge, hoverinfo: "skip" });
      traces.push({ type: "scatter", mode: "lines", name, x: xs, y: high, line: edge,
        customdata: low.map((value, k) => `${plain(each.name)}: ${digits(value)} to ${digits(high[k])}`),
        hovertemplate: "%{customdata}" });
    }
    if (span.middle !== null) {
      traces.push({ type: "scatter", mode: "lines+markers", name, x: xs, y: smooth(span.middle, state.smoothing),
        line: { width: 2, color: ink, dash: look.dash },
        marker: { symbol: look.marker, size: 7, color: ink, maxdisplayed: MOST_MARKERS },
        hovertemplate: `${plain(span.middle_name)}: %{y:.4~g}` });
    }
    return traces;
  }

  function pathTraces(path, mode, view) {
    const look = DASHES[path.arm], ink = cssColour(`--arm-${look.colour}`);
    const names = path.steps.map((step, k) => `step ${step}: ${plain(view.axes.z)} ${digits(path.z[k])}`);
    const bar = { title: { text: plain(view.axes.z), side: "right" }, thickness: 12, outlinewidth: 0 };
    const ends = path.steps.map((_, k) => k === 0 ? "start" : k === path.steps.length - 1 ? "end" : "");
    const common = { x: path.x, y: path.y, customdata: names, text: ends, textposition: "top center",
                     hovertemplate: "%{customdata}<extra></extra>", mode: "lines+markers+text" };
    if (mode === "3-D") {
      return [{ ...common, type: "scatter3d", z: path.z, line: { color: ink, width: 4 },
                marker: { color: ink, size: 3.5 } }];
    }
    return [{ ...common, type: "scatter", line: { color: ink, width: 1.5, dash: look.dash },
              marker: { color: path.z, colorscale: "Cividis", colorbar: bar, size: 8 } }];
  }

  function surfaceTraces(surface, mode, view, isLog) {
    const z = isLog ? surface.z.map((row) => row.map((v) => v === null || v <= 0 ? null : Math.log10(v))) : surface.z;
    const [low, high] = isLog ? view.powers : view.linear;
    const name = plain(isLog ? `log₁₀ ${view.axes.z}` : view.axes.z);
    const bar = { title: { text: name, side: "right" }, thickness: 12, outlinewidth: 0 };
    const common = { x: surface.x, y: surface.y, z, colorscale: "Cividis", colorbar: bar,
                     hovertemplate: `(%{x}, %{y}): %{z:.4~g}<extra></extra>` };
    if (mode === "3-D") return [{ ...common, type: "surface", cmin: low, cmax: high, showscale: false }];
    // Levels of our own: those that Plotly chooses it keeps when the scale changes, and fails.
    const size = high > low ? (high - low) / LEVELS : 0;
    return [{ ...common, type: "contour", zmin: low, zmax: high, autocontour: false,
              contours: { start: low + size / 2, end: high - size / 2, size: size || 1,
                          showlabels: true, labelfont: { size: 11 } } }];
  }

  const isLogOf = (figure, view, state) =>
    figure.can_be_log && state.scale === "log" && view.powers !== null;
  const limits = (view, state) =>
    state.isLog && view.powers ? view.powers.map((power) => 10 ** power) : view.linear ?? [0, 1];

  // What the lines and bands of a panel are.
  function textOf(panel, view, state) {
    const text = panel.bands[state.band] ?? "";
    const isSmoothed = state.smoothing > 1 && view.axes.x_kind === "time" && text;
    return isSmoothed ? `${text}; smoothed over ${state.smoothing} drawn points` : text;
  }

  // Where time ends in a view: its panels share the axis, also those whose trials diverged early.
  function lastTime(view, state) {
    let end = 0;
    for (const panel of view.panels) {
      for (const each of [...(panel.lines ?? []), ...(panel.spans ?? [])]) {
        const steps = [...each.x, ...(each.marks ?? []).map((mark) => mark.x)];
        for (const x of along({ ...each, x: steps }, state)) end = Math.max(end, x);
      }
    }
    return end;
  }

  function flatAxes(panel, view, state, axis) {
    const { x_kind: kind } = view.axes;
    const isTime = kind === "time" && (panel.lines || panel.spans);
    const x = { ...axis, title: { text: isTime ? state.axis : plain(view.axes.x) }, zeroline: false };
    const end = isTime ? lastTime(view, state) : 0;
    if (end > 0) x.range = [-0.02 * end, 1.03 * end];
    else if (isTime) x.rangemode = "tozero";
    else if (panel.lines) {
      x.type = { log: "log", number: "linear", category: "category" }[kind];
      const values = [...new Set(panel.lines.flatMap((line) => line.x))];
      if (kind !== "category" && values.length <= MOST_TICKS) {
        Object.assign(x, { tickmode: "array", tickvals: values, ticktext: values.map(digits) });
      }
    }
    const y = { ...axis, title: { text: plain(view.axes.y) }, zeroline: false };
    if (panel.lines || panel.spans) {
      y.type = state.isLog ? "log" : "linear";
      if (view.linear) y.range = [...(state.isLog ? view.powers : view.linear)];
    }
    return { xaxis: x, yaxis: y };
  }

  function layoutOf(panel, view, state, mode) {
    const ink = cssColour("--ink"), line = cssColour("--line"), page = cssColour("--page");
    const axis = { gridcolor: line, linecolor: line, tickcolor: line, automargin: true };
    const is3d = mode === "3-D";
    const isCoordinate = panel.path || panel.surface;
    const layout = {
      height: isCoordinate ? 400 : HEIGHT_PX,
      margin: is3d ? { l: 0, r: 0, t: 28, b: 0 } : { l: 56, r: 12, t: 28, b: 44 },
      showlegend: false, hovermode: isCoordinate ? "closest" : "x unified", dragmode: is3d ? "turntable" : false,
      paper_bgcolor: "rgba(0, 0, 0, 0)", plot_bgcolor: "rgba(0, 0, 0, 0)",
      font: { color: ink, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: page, bordercolor: line, font: { color: ink } },
      modebar: { bgcolor: "rgba(0, 0, 0, 0)", color: cssColour("--quiet"), activecolor: ink },
    };
    if (!is3d) return { ...layout, ...flatAxes(panel, view, state, axis) };
    const wall = { gridcolor: line, backgroundcolor: page, color: ink, showbackground: false };
    const named = (text) => ({ ...wall, title: { text: plain(text) } });
    return { ...layout, scene: { xaxis: named(view.axes.x), yaxis: named(view.axes.y), zaxis: named(view.axes.z),
      aspectmode: "cube",
      camera: { eye: { x: 2 * Math.cos(state.turn), y: 2 * Math.sin(state.turn), z: state.lift } } } };
  }

  // What Plotly draws of a panel: `mode` is "3-D" or "flat"; hidden arms are left out.
  function plot(figure, view, panel, givenState, mode, arms) {
    const state = { ...givenState, isLog: isLogOf(figure, view, givenState) };
    let data = [];
    if (panel.lines) data = panel.lines.filter((line) => !state.hidden.has(line.arm))
      .flatMap((line) => lineTraces(line, view, state, arms));
    if (panel.spans) data = panel.spans.filter((span) => !state.hidden.has(span.arm))
      .flatMap((span) => spanTraces(span, view, state, arms));
    if (panel.path) data = pathTraces(panel.path, mode, view);
    if (panel.surface) data = surfaceTraces(panel.surface, mode, view, state.isLog);
    return { data, layout: layoutOf(panel, view, state, mode) };
  }

  const armsOf = (panel) => panel.path ? [panel.path.arm] : panel.surface ? [panel.surface.arm]
    : (panel.lines ?? panel.spans).map((item) => item.arm);

  return { plot, armsOf, textOf };
})();
