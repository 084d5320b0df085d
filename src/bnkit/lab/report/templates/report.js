"use strict";
(() => {
  const root = document.documentElement;
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const state = { axis: "epoch", band: "interval", scale: "linear", hidden: new Set() };
  const drawn = new Set();

  const cssColour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function translucent(colour, alpha) {
    const value = parseInt(colour.slice(1), 16);
    return `rgba(${value >> 16}, ${(value >> 8) & 255}, ${value & 255}, ${alpha})`;
  }

  // Colours come from CSS alone, so theme and print need none of their own here.
  function styledTrace(trace) {
    const { arm, colour, role, steps } = trace.meta;
    const ink = cssColour(`--arm-${colour}`);
    const styled = { ...trace, x: state.axis === "step" ? steps : trace.x };
    const isShown = role === "mean" ? state.band !== "trials" : role === "diverged" || role === state.band;
    styled.visible = isShown && !state.hidden.has(arm);
    if (trace.line) styled.line = { ...trace.line, color: ink };
    if (trace.marker) styled.marker = { ...trace.marker, color: ink };
    if (role === "mean") styled.hovertemplate = trace.meta.hover[state.band] ?? trace.hovertemplate;
    if (trace.fill) styled.fillcolor = translucent(ink, 0.2);
    return styled;
  }

  function styledLayout(layout) {
    const { titles, ranges, is_loss: isLoss } = layout.meta;
    const ink = cssColour("--ink"), line = cssColour("--line"), page = cssColour("--page");
    const isLog = isLoss && state.scale === "log" && ranges.log !== null;
    const axis = { gridcolor: line, linecolor: line, tickcolor: line, automargin: true };
    return {
      ...layout,
      paper_bgcolor: "rgba(0, 0, 0, 0)",
      plot_bgcolor: "rgba(0, 0, 0, 0)",
      font: { color: ink, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: page, bordercolor: line, font: { color: ink } },
      modebar: { bgcolor: "rgba(0, 0, 0, 0)", color: cssColour("--quiet"), activecolor: ink },
      title: { ...layout.title, text: titles[state.band] },
      xaxis: { ...layout.xaxis, ...axis, title: { text: state.axis } },
      yaxis: { ...layout.yaxis, ...axis, type: isLog ? "log" : "linear",
               range: [...(isLog ? ranges.log : ranges.linear)] },
    };
  }

  function draw(id) {
    drawn.add(id);
    const { data, layout } = plots[id];
    // Named one by one: Plotly's own set has a button that uploads the data to its server.
    const buttons = [["toImage", "zoom2d", "pan2d", "resetScale2d"]];
    const config = { responsive: true, displaylogo: false, showSendToCloud: false,
                     modeBarButtons: buttons };
    return Plotly.react(id, data.map(styledTrace), styledLayout(layout), config);
  }

  const redraw = () => drawn.forEach(draw);
  const drawAll = () => Object.keys(plots).forEach(draw);

  for (const name of ["axis", "band", "scale"]) {
    document.getElementById(name)?.addEventListener("change", (event) => {
      state[name] = event.target.value;
      redraw();
    });
  }
  for (const button of document.querySelectorAll("button[data-arm]")) {
    button.addEventListener("click", () => {
      const arm = Number(button.dataset.arm);
      const wasHidden = state.hidden.delete(arm);
      if (!wasHidden) state.hidden.add(arm);
      button.setAttribute("aria-pressed", String(wasHidden));
      redraw();
    });
  }
  document.addEventListener("themechange", redraw);
  addEventListener("beforeprint", drawAll);

  // A study with a grid has many figures: each is drawn when it comes near the window.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      draw(entry.target.id);
    }
  }, { rootMargin: "600px" });
  Object.keys(plots).forEach((id) => watcher.observe(document.getElementById(id)));
})();
