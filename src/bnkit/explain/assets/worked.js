"use strict";
// The worked example: each step of batch norm in training mode with its numbers.
const worked = (() => {
  const { html, number, table, shownRows, numberBlocks, replace, derivations, placeOf, channelIndices,
          sumText, inBrackets } = elements;
  const { format, resolutionOf, smallestResolution } = numbers;
  const sqrt = (values) => values.map(Math.sqrt);
  const minus = (a, b) => `${a} − ${inBrackets(b)}`;
  const one = (value) => numbers.significant(value, 6);

  const IDS = ["values-step", "mean-step", "variance-step", "normalize-step", "output-step", "check-step"];

  function render(state, trained, names) {
    derivations.x = (index) =>
      `x[${placeOf(state.shape, state.rank, index)}] = ${state.values[index]}: yours.`;
    renderValues(state, trained);
    if (trained === null) {
      IDS.slice(1).forEach((id) => replace(id, html("p", { class: "note" }, "Not computed: see the message above.")));
      return;
    }
    const { rows, note } = shownRows(state.shape[1], state.channel, "channels");
    const shown = (values, name, texts) => rows.map((c) => number(texts[c], name, c));
    const grid = (caption, head, columns) => [table(caption, ["", ...head],
      rows.map((c, row) => [names[c], ...columns.map((column) => column[row])]), "stats"), note];
    const context = { state, trained, names, shown, grid };
    renderMean(context);
    renderVariance(context);
    renderNormalize(context);
    renderOutput(context);
    renderCheck(context);
  }

  function renderValues(state, trained) {
    const [N, C, H, W] = state.shape;
    const m = N * H * W;
    const letters = state.rank === 4 ? "N·H·W" : state.rank === 3 ? "N·L" : "N";
    const sizes = state.rank === 4 ? [N, H, W] : state.rank === 3 ? [N, W] : [N];
    const many = sizes.length > 1 ? `${letters} = ${sizes.join("·")} = ${m}` : `N = ${m}`;
    const axes = { 2: "axis 0", 3: "axes 0 and 2", 4: "axes 0, 2 and 3" }[state.rank];
    const own = channelIndices(state.shape, state.channel).map((index) => state.values[index]);
    const spread = trained ? Math.sqrt(trained.variance[state.channel]) : Math.max(...own.map(Math.abs));
    replace("values-step",
      html("p", {}, `The mean and the variance run over ${axes}: m = ${many} ${m === 1 ? "value" : "values"} for `
        + `each of the ${C} ${C === 1 ? "channel" : "channels"}.`),
      numberBlocks(state, state.values, "x", `x, ${state.channelName}`, resolutionOf(spread)));
  }

  // The values of one channel as they are written in a sum, at most 6 of them.
  function terms({ state, trained }, channel) {
    const values = channelIndices(state.shape, channel).map((index) => state.values[index]);
    return format(values, resolutionOf(Math.sqrt(trained.variance[channel])));
  }

  function renderMean(context) {
    const { state, trained, names, shown, grid } = context;
    const resolution = smallestResolution(sqrt(trained.variance));
    const sums = format(trained.sum, resolution), means = format(trained.mean, resolution);
    derivations.sum = (c) => `Σ x of ${names[c]} = ${sumText(terms(context, c))} = ${sums[c]}`;
    derivations.mean = (c) => `mean of ${names[c]} = ${sums[c]} / ${trained.size} = ${means[c]}`;
    replace("mean-step", grid("Sum and mean of each channel", ["Σ x", "mean"],
      [shown(trained.sum, "sum", sums), shown(trained.mean, "mean", means)]));
  }

  function renderVariance(context) {
    const { state, trained, names, shown, grid } = context;
    const squares = format(trained.squares, 0, true), variances = format(trained.variance, 0, true);
    const unbiased = format(trained.unbiasedVariance, 0, true);
    const deviations = format(sqrt(trained.variance), 0, true);
    const m = trained.size;
    derivations.squares = (c) => {
      const mean = one(trained.mean[c]);
      const parts = terms(context, c).map((term) => `(${minus(term, mean)})²`);
      return `Σ (x − mean)² of ${names[c]} = ${sumText(parts.slice(0, 3))}`
        + `${parts.length > 3 ? " + …" : ""} = ${squares[c]}`;
    };
    derivations.variance = (c) => `var of ${names[c]} = ${squares[c]} / ${m} = ${variances[c]}`;
    derivations.unbiased = (c) =>
      `unbiased_var of ${names[c]} = ${squares[c]} / (${m} − 1) = ${unbiased[c]}`;
    derivations.deviation = (c) => `√var of ${names[c]} = √${variances[c]} = ${deviations[c]}`;
    replace("variance-step", grid("Variance of each channel",
      ["Σ (x − mean)²", "var, biased (÷ m)", "unbiased_var (÷ (m − 1))", "√var"],
      [shown(trained.squares, "squares", squares), shown(trained.variance, "variance", variances),
       shown(trained.unbiasedVariance, "unbiased", unbiased),
       shown(sqrt(trained.variance), "deviation", deviations)]),
    trained.variance[state.channel] === 0 ? html("p", { class: "note" },
      `All values of ${state.channelName} are equal, so its variance is 0. eps alone keeps the next step from `
      + "dividing by 0.") : null);
  }

  function renderNormalize(context) {
    const { state, trained, names, shown, grid } = context;
    const invstd = format(trained.invstd, 0, true);
    const eps = one(state.eps);
    derivations.invstd = (c) =>
      `invstd of ${names[c]} = 1 / √(${one(trained.variance[c])} + ${eps}) = ${invstd[c]}`;
    derivations.normalized = (index) => {
      const c = channelOf(state, index);
      const [x, mean] = format([state.values[index], trained.mean[c]],
                               resolutionOf(Math.sqrt(trained.variance[c])));
      return `x_hat[${placeOf(state.shape, state.rank, index)}] = (${minus(x, mean)}) · `
        + `${invstd[c]} = ${one(trained.normalized[index])}`;
    };
    replace("normalize-step",
      grid("1 / √(var + eps) of each channel", ["invstd"], [shown(trained.invstd, "invstd", invstd)]),
      numberBlocks(state, trained.normalized, "normalized", `x_hat, ${state.channelName}`, 1e-4));
  }

  function renderOutput({ state, trained, shown, grid }) {
    const weights = format(state.weight, 0, true), biases = format(state.bias, 0, true);
    derivations.weight = (c) => `weight[${c}] = ${state.weight[c]}: yours.`;
    derivations.bias = (c) => `bias[${c}] = ${state.bias[c]}: yours.`;
    derivations.output = (index) => {
      const c = channelOf(state, index);
      return `y[${placeOf(state.shape, state.rank, index)}] = ${one(state.weight[c])} · `
        + `${inBrackets(one(trained.normalized[index]))} + ${inBrackets(one(state.bias[c]))} = `
        + one(trained.output[index]);
    };
    const isNew = state.weight.every((value) => value === 1) && state.bias.every((value) => value === 0);
    replace("output-step",
      isNew ? html("p", {}, "A new layer starts with weight 1 and bias 0, as here: y = x_hat.") : null,
      grid("Weight and bias of each channel", ["weight γ", "bias β"],
        [shown(state.weight, "weight", weights), shown(state.bias, "bias", biases)]),
      numberBlocks(state, trained.output, "output", `y, ${state.channelName}`,
        resolutionOf(Math.abs(state.weight[state.channel]))));
  }

  function renderCheck({ state, trained, names, shown, grid }) {
    const resolution = smallestResolution(state.weight);
    const largest = trained.output.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    // A mean that should be 0 comes out as rounding error, some 1e-17 of the values it is made of.
    const cleaned = trained.outputMean.map((value) => (Math.abs(value) < 1e-12 * largest ? 0 : value));
    const means = format(cleaned, resolution);
    const promised = state.weight.map((weight, c) => (weight * Math.sqrt(trained.variance[c]) * trained.invstd[c]) ** 2);
    const texts = format([...trained.outputVariance, ...promised], 0, true);
    const half = promised.length;
    derivations.outputMean = (c) => `mean of y over the ${trained.size} values of ${names[c]}: ${means[c]}; `
      + `promised is bias = ${one(state.bias[c])}`;
    derivations.outputVariance = (c) => `variance of y over the ${trained.size} values of ${names[c]}: ${texts[c]}`;
    derivations.promised = (c) => `${inBrackets(one(state.weight[c]))}² · ${one(trained.variance[c])} / `
      + `(${one(trained.variance[c])} + ${one(state.eps)}) = ${texts[half + c]}`;
    replace("check-step", grid("Mean and variance of y in each channel",
      ["mean of y", "variance of y", "weight² · var / (var + eps)"],
      [shown(cleaned, "outputMean", means), shown(trained.outputVariance, "outputVariance", texts.slice(0, half)),
       shown(promised, "promised", texts.slice(half))]));
  }

  const channelOf = ({ shape: [, C, H, W] }, index) => Math.floor(index / (H * W)) % C;

  return { render, channelOf };
})();
