"use strict";
// The page: its state, the fields that change it, and the order in which it is drawn.
(() => {
  const { html } = elements;
  const byId = (id) => document.getElementById(id);
  const given = JSON.parse(byId("batch-data").textContent);
  const MOST_STEPS = 1000;
  const POSITIVE = { least: 1e-100, most: 1e100, why: "it keeps 1 / √(var + eps) finite" };
  const VARIANCE = { least: 0, most: 1e100, why: "a variance is never below 0" };
  const PART = { least: 0, most: 1, why: "it is the weight of the new batch" };
  let state, drawn = 0;

  function adopt(batch) {
    const channels = batch.shape[1];
    const vector = (list, initial) => (list ? [...list] : new Array(channels).fill(initial));
    state = { shape: [...batch.shape], rank: batch.rank, values: [...batch.values],
              weight: vector(batch.weight, 1), bias: vector(batch.bias, 0),
              runningMean: vector(batch.running_mean, 0), runningVar: vector(batch.running_var, 1),
              eps: batch.eps ?? 1e-5, momentum: batch.momentum ?? 0.1, names: batch.names ?? [],
              channel: 0, example: 0, groups: 1, steps: state?.steps ?? 30, seesNew: state?.seesNew ?? false };
    state.kept = state.momentum;
    byId("cumulative").checked = false;
    rebuild();
  }

  const nameOf = (c) => `channel ${c}${state.names[c] ? ` (${state.names[c]})` : ""}`;
  const divisors = (count) => Array.from({ length: count }, (_, i) => i + 1).filter((size) => count % size === 0);

  // Fields and choices anew: after another shape, another batch or another channel.
  function rebuild() {
    const [N, C] = state.shape;
    state.channel = Math.min(state.channel, C - 1);
    state.example = Math.min(state.example, N - 1);
    if (C % state.groups !== 0 || state.groups === 1) state.groups = divisors(C).find((size) => size > 1 && size < C) ?? 1;
    const options = (count, name, chosen) => Array.from({ length: count }, (_, index) =>
      html("option", { value: index, selected: index === chosen }, name(index)));
    for (const id of ["channel", "axes-channel"]) byId(id).replaceChildren(...options(C, nameOf, state.channel));
    for (const id of ["example", "axes-example"]) byId(id).replaceChildren(...options(N, (n) => `example ${n}`, state.example));
    byId("groups").replaceChildren(...divisors(C).map((size) =>
      html("option", { value: size, selected: size === state.groups }, String(size))));
    buildShapeFields();
    buildValueFields();
    buildLayerFields();
    draw();
  }

  function buildShapeFields() {
    const letters = { 2: ["N", "C"], 3: ["N", "C", "L"], 4: ["N", "C", "H", "W"] }[state.rank];
    const places = { 2: [0, 1], 3: [0, 1, 3], 4: [0, 1, 2, 3] }[state.rank];
    const words = { N: "N, examples", C: "C, channels", H: "H, rows", W: "W, columns", L: "L, positions" };
    byId("shape-fields").replaceChildren(...letters.map((letter, row) => {
      const line = fields.errorLine();
      const limits = { least: 1, most: batchText.MOST_VALUES, why: "the page takes so many values" };
      const node = fields.input(words[letter], state.shape[places[row]], limits, () => {}, line, true);
      node.addEventListener("change", () => {
        const size = Number(node.value);
        if (node.getAttribute("aria-invalid") === "true" || size === state.shape[places[row]]) return;
        const shape = state.shape.map((old, axis) => (axis === places[row] ? size : old));
        const all = arithmetic.product(shape);
        if (all > batchText.MOST_VALUES) {
          node.setAttribute("aria-invalid", "true");
          line.textContent = `${words[letter]}: that makes ${all} values, and this page takes ${batchText.MOST_VALUES}.`;
          return;
        }
        resize(shape);
        byId("shape-fields").querySelectorAll("input")[row].focus();
      });
      return html("div", { class: "field" }, html("label", {}, `${words[letter]} `, node), line);
    }));
  }

  // Values that both shapes have stay; new ones are drawn from a normal distribution like the channel's.
  function resize(shape) {
    const old = state.shape, { normal } = arithmetic.randomNumbers(1);
    const found = arithmetic.moments(state.values, arithmetic.setsOf("batch", old));
    const values = [];
    for (let n = 0; n < shape[0]; n += 1) for (let c = 0; c < shape[1]; c += 1) {
      for (let h = 0; h < shape[2]; h += 1) for (let w = 0; w < shape[3]; w += 1) {
        const isOld = [n, c, h, w].every((place, axis) => place < old[axis]);
        const [mean, deviation] = c < old[1] ? [found.mean[c], Math.sqrt(found.variance[c]) || 1] : [0, 1];
        values.push(isOld ? state.values[elements.flatIndex(old, n, c, h, w)]
          : Number((mean + deviation * normal()).toPrecision(4)));
      }
    }
    const vector = (list, initial) => Array.from({ length: shape[1] }, (_, c) => list[c] ?? initial);
    Object.assign(state, { shape, values, weight: vector(state.weight, 1), bias: vector(state.bias, 0),
                           runningMean: vector(state.runningMean, 0), runningVar: vector(state.runningVar, 1) });
    rebuild();
  }

  function buildValueFields() {
    const lines = new Map();
    const lineOf = (n) => {
      if (!lines.has(n)) lines.set(n, fields.errorLine());
      return lines.get(n);
    };
    const built = elements.blocks(state.shape, state.channel, `x, ${nameOf(state.channel)}`, (index, [n]) =>
      fields.input(`x[${elements.placeOf(state.shape, state.rank, index)}]`, state.values[index], {},
                   (value) => { state.values[index] = value; draw(); }, lineOf(n)));
    const group = built[0];
    group.replaceChildren(...[...group.children].map((block, n) => html("div", { class: "block" }, block, lineOf(n))));
    byId("value-fields").replaceChildren(...built.filter(Boolean));
  }

  function buildLayerFields() {
    const momentum = fields.labelled("momentum", state.kept, PART, (value) => {
      state.kept = value;
      if (state.momentum !== null) state.momentum = value;
      draw();
    });
    momentum.querySelector("input").disabled = state.momentum === null;
    byId("layer-fields").replaceChildren(
      fields.labelled("eps", state.eps, POSITIVE, (value) => { state.eps = value; draw(); }), momentum);
    const columns = [["weight", "weight γ", {}], ["bias", "bias β", {}], ["runningMean", "running_mean", {}],
                     ["runningVar", "running_var", VARIANCE]];
    const { rows, note } = elements.shownRows(state.shape[1], state.channel, "channels");
    const cell = (c, [key, name, limits]) => {
      const line = fields.errorLine();
      const node = fields.input(`${name.split(" ")[0]} of ${nameOf(c)}`, state[key][c], limits,
                                (value) => { state[key][c] = value; draw(); }, line);
      return html("div", {}, node, line);
    };
    byId("channel-fields").replaceChildren(...[elements.table("The layer’s numbers for each channel",
      ["", ...columns.map(([, name]) => name)],
      rows.map((c) => [nameOf(c), ...columns.map((column) => cell(c, column))]), "layer"), note].filter(Boolean));
  }

  function draw() {
    state.channelName = nameOf(state.channel);
    const names = state.shape.length ? Array.from({ length: state.shape[1] }, (_, c) => nameOf(c)) : [];
    const trained = arithmetic.train(state, state);
    const sizes = { 2: state.shape.slice(0, 2), 3: [state.shape[0], state.shape[1], state.shape[3]], 4: state.shape }[state.rank];
    byId("shape-line").textContent = `x has shape (${sizes.join(", ")}), in the order of PyTorch: `
      + `${{ 2: "examples, channels", 3: "examples, channels, positions", 4: "examples, channels, rows, columns" }[state.rank]}.`;
    byId("refused").hidden = trained !== null;
    byId("refused").textContent = "One value per channel: it is its own mean and has variance 0, so that every "
      + "output would be the bias. torch refuses it in training mode. Give more examples or positions; eval mode "
      + "and batch size 1 are shown below.";
    const history = arithmetic.runningHistory(state, state, state.steps, state.seesNew);
    const now = history.at(-1), steps = history.length - 1;
    worked.render(state, trained, names);
    demonstrations.histograms(state, trained, names);
    demonstrations.running(state, trained, history);
    demonstrations.modes(state, trained, now, steps, names);
    demonstrations.alone(state, trained, now, steps, names);
    demonstrations.axes(state);
    demonstrations.sigmoid(state, trained);
    elements.reachScrolls();
    drawn += 1;
    document.documentElement.dataset.drawn = drawn;
  }

  function choose(key, ids, numberOf = Number) {
    for (const id of ids) {
      byId(id).addEventListener("change", (event) => {
        state[key] = numberOf(event.target.value);
        for (const other of ids) byId(other).value = event.target.value;
        if (key === "channel") {
          buildValueFields();
          buildLayerFields();
        }
        draw();
      });
    }
  }

  function connect() {
    choose("channel", ["channel", "axes-channel"]);
    choose("example", ["example", "axes-example"]);
    choose("groups", ["groups"]);
    byId("steps-field").append(fields.labelled("Steps", 30,
      { least: 0, most: MOST_STEPS, why: "each is drawn" }, (value) => { state.steps = value; draw(); }, true));
    document.querySelectorAll("input[name=seen]").forEach((button) => button.addEventListener("change", () => {
      state.seesNew = button.value === "new" && button.checked;
      draw();
    }));
    byId("cumulative").addEventListener("change", (event) => {
      state.momentum = event.target.checked ? null : state.kept;
      buildLayerFields();
      draw();
    });
    byId("start-again").addEventListener("click", () => adopt(given));
    let seed = 0;
    byId("random-values").addEventListener("click", () => {
      seed += 1;
      const { normal } = arithmetic.randomNumbers(seed);
      state.values = state.values.map(() => Number(normal().toFixed(2)));
      buildValueFields();
      draw();
    });
    byId("equal-values").addEventListener("click", () => {
      const own = elements.channelIndices(state.shape, state.channel);
      own.forEach((index) => { state.values[index] = state.values[own[0]]; });
      buildValueFields();
      draw();
    });
    byId("use-pasted").addEventListener("click", () => {
      const { batch, error } = batchText.parse(byId("pasted").value);
      byId("pasted-error").textContent = error ?? "";
      byId("pasted").setAttribute("aria-invalid", error ? "true" : "false");
      if (batch) adopt(batch);
    });
    byId("write-batch").addEventListener("click", () => {
      byId("pasted").value = batchText.write(state);
      byId("pasted-error").textContent = "";
    });
    addEventListener("resize", elements.reachScrolls);
    elements.explainNumbers(document.body, (text) => { byId("spoken").textContent = text; });
  }

  connect();
  adopt(given);
})();
