"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("plots").textContent);
  const arms = JSON.parse(document.getElementById("arm-names").textContent);
  const state = { axis: "epoch", band: "interval", scale: "linear", smoothing: 1, hidden: new Set() };
  // Only figures near the window are drawn, and drawn again; the others when they come near.
  const near = new Set();
  let version = 0;
  const hasWebGL = (() => {
    try {
      return Boolean(document.createElement("canvas").getContext("webgl"));
    } catch {
      return false;
    }
  })();
  const printing = matchMedia("print");

  const frames = new Map();
  for (const frame of document.querySelectorAll(".metric[data-figure]")) {
    const figure = figures[frame.dataset.figure];
    const own = { figure, frame, choice: [...figure.views[0].choice], mode: figure.modes[0] ?? "flat",
                  turn: 0.8, lift: 0.9 };
    if (!hasWebGL && figure.modes.length) {
      own.mode = "flat";
      frame.querySelector(".mode")?.setAttribute("hidden", "");
      const note = frame.querySelector(".no-webgl");
      if (note) note.hidden = false;
    }
    frames.set(frame.dataset.figure, own);
  }

  // What is chosen is read on paper, where the selects are not.
  function nameChoice({ frame }) {
    const parts = [...frame.querySelectorAll("select[data-selection]")].map(
      (select) => `${select.labels[0].firstChild.textContent.trim()}: ${select.selectedOptions[0].textContent}`);
    if (parts.length) frame.querySelector(".chosen").textContent = parts.join(", ");
  }
  frames.forEach(nameChoice);

  // A selection that was not recorded for this choice (a key of another layer) is said, not guessed.
  function viewOf(own) {
    const wanted = own.choice.join();
    return own.figure.views.find((view) => view.choice.join() === wanted) ?? null;
  }

  function draw(place) {
    // What is being drawn cannot be drawn anew: Plotly would work on two drawings in one place.
    place.isAskedAgain = place.isBusy ?? false;
    if (place.isBusy) return;
    place.dataset.drawn = version;
    const own = frames.get(place.dataset.figure);
    const view = viewOf(own), panel = view?.panels[Number(place.dataset.panel)];
    const box = place.closest("figure");
    const isShown = panel && bnkitPlots.armsOf(panel).some((arm) => !state.hidden.has(arm));
    const absent = own.frame.querySelector(".absent");
    absent.hidden = view !== null;
    box.hidden = !panel || (!isShown && (panel.path || panel.surface || panel.spans?.length === 1));
    if (!panel || box.hidden) return;
    // What WebGL draws is not printed by every browser.
    const mode = printing.matches || state.isPrinting ? "flat" : own.mode;
    const { data, layout } = bnkitPlots.plot(
      own.figure, view, panel, { ...state, turn: own.turn, lift: own.lift }, mode, arms);
    box.setAttribute("aria-label", panel.label);
    const title = document.createElement("strong");
    title.textContent = panel.title;
    const said = document.createElement("span");
    said.textContent = bnkitPlots.textOf(panel, view, state);
    box.querySelector(".panel-title").replaceChildren(...[title, said].filter((part) => part.textContent));
    // Named one by one: Plotly's own set has a button that uploads the data to its server.
    const buttons = [mode === "3-D" ? ["toImage", "resetCameraDefault3d"] : ["toImage", "zoom2d", "pan2d", "resetScale2d"]];
    const config = { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtons: buttons };
    // Plotly cannot take a drawing of three dimensions over into a flat one, nor back.
    if (place.dataset.mode && place.dataset.mode !== mode) Plotly.purge(place);
    place.dataset.mode = mode;
    // The label says what is drawn; read one by one, tick labels would only be noise.
    place.isBusy = true;
    Plotly.react(place, data, layout, config).then(() => {
      place.querySelectorAll(".main-svg, .gl-container").forEach((part) => part.setAttribute("aria-hidden", "true"));
    }).finally(() => {
      place.isBusy = false;
      if (place.isAskedAgain) draw(place);
      else if (!near.has(place)) giveUp(place);
    });
  }

  // What WebGL draws is given up when it leaves: a browser has few drawing contexts.
  function giveUp(place) {
    if (!place.querySelector(".gl-container canvas")) return;
    Plotly.purge(place);
    delete place.dataset.drawn;
  }

  function redraw() {
    version += 1;
    document.documentElement.dataset.version = version;
    near.forEach(draw);
  }
  // A panel that the choice before did not have is hidden, and so is never near the window.
  const redrawFrame = (frame) => frame.querySelectorAll(".plot").forEach(draw);

  for (const name of ["axis", "band", "scale", "smoothing"]) {
    document.getElementById(name)?.addEventListener("change", (event) => {
      state[name] = name === "smoothing" ? Number(event.target.value) : event.target.value;
      redraw();
    });
  }
  for (const [id, own] of frames) {
    own.frame.addEventListener("change", (event) => {
      const { selection } = event.target.dataset;
      if (selection !== undefined) own.choice[Number(selection)] = Number(event.target.value);
      if (event.target.name === `mode-${id}`) {
        own.mode = event.target.value;
        own.frame.querySelector(".turn").hidden = own.mode !== "3-D";
      }
      nameChoice(own);
      redrawFrame(own.frame);
    });
    const turn = own.frame.querySelector(".turn");
    if (turn) turn.hidden = own.mode !== "3-D";
    turn?.addEventListener("click", (event) => {
      const step = event.target.dataset.turn;
      if (!step) return;
      own.turn += { left: -0.35, right: 0.35 }[step] ?? 0;
      own.lift = Math.min(2.2, Math.max(-0.4, own.lift + ({ up: 0.35, down: -0.35 }[step] ?? 0)));
      redrawFrame(own.frame);
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
  const places = [...document.querySelectorAll(".plot")];
  document.addEventListener("themechange", redraw);
  addEventListener("beforeprint", () => { state.isPrinting = true; places.forEach(draw); });
  addEventListener("afterprint", () => { state.isPrinting = false; redraw(); });

  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        near.add(target);
        if (target.dataset.drawn !== String(version)) draw(target);
      } else {
        near.delete(target);
        if (!target.isBusy) giveUp(target);
      }
    }
  }, { rootMargin: "400px" });
  places.forEach((place) => watcher.observe(place));
})();
