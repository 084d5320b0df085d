"use strict";
// The sections behind the worked example: each draws itself from the state.
const demonstrations = (() => {
  const { html, table, shownRows, numberBlocks, replace, derivations, channelIndices, inBrackets } = elements;
  const { significant, resolutionOf, format } = numbers;
  const BEFORE = 1, AFTER = 0;
  const short = (value) => significant(value, 5);
  const own = (state, values, channel) => channelIndices(state.shape, channel).map((index) => values[index]);
  const notComputed = () => html("p", { class: "note" }, "Not computed: one value per channel has no variance.");
  const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

  function histograms(state, trained, names) {
    if (trained === null) return replace("histograms", notComputed());
    const { rows, note } = shownRows(Math.min(state.shape[1], 6), Math.min(state.channel, 5), "channels");
    if (state.channel > 5) rows[rows.length - 1] = state.channel;
    const pairs = rows.map((c) => html("div", { class: "pictures" },
      charts.histogram(`${names[c]}, before`, own(state, state.values, c), "x", BEFORE),
      charts.histogram(`${names[c]}, after`, own(state, trained.output, c), "y", AFTER)));
    const left = state.shape[1] > rows.length
      ? html("p", { class: "note" }, `${rows.length} of ${state.shape[1]} channels are shown, the chosen one among them.`) : note;
    return replace("histograms", pairs, left);
  }

  function running(state, trained, history) {
    if (trained === null) {
      replace("running-pictures", notComputed());
      return replace("running-table");
    }
    const c = state.channel;
    const means = history.map(({ mean }) => mean[c]), variances = history.map(({ variance }) => variance[c]);
    replace("running-pictures",
      charts.approach(`running_mean of ${state.channelName}`, means, trained.mean[c], "mean", AFTER),
      charts.approach(`running_var of ${state.channelName}`, variances, trained.unbiasedVariance[c], "unbiased_var", AFTER));
    const last = history.length - 1;
    const steps = [...new Set([0, 1, 2, 3, 10, 50, last].filter((step) => step <= last))].sort((a, b) => a - b);
    const left = (step) => (state.momentum === null ? Number(step === 0) : (1 - state.momentum) ** step);
    return replace("running-table",
      table("Running statistics after so many steps", ["step", "running_mean", "running_var", "left of the start"],
        steps.map((step) => [String(step), short(means[step]), short(variances[step]),
                             `${significant(100 * left(step), 3)} %`]), "stats"),
      html("p", { class: "note" }, state.momentum === null
        ? "A cumulative average weighs every batch alike and forgets its start at the first one."
        : `After k steps (1 − momentum)^k of the start is left: ${significant(1 - state.momentum, 6)}^k.`));
  }

  function modes(state, trained, runningNow, steps, names) {
    const output = arithmetic.infer({ shape: state.shape, values: state.values }, state, runningNow);
    derivations.inferred = (index) => {
      const c = Math.floor(index / (state.shape[2] * state.shape[3])) % state.shape[1];
      return `y = ${short(state.weight[c])} · (${short(state.values[index])} − ${inBrackets(short(runningNow.mean[c]))}) / `
        + `√(${short(runningNow.variance[c])} + ${short(state.eps)}) + ${inBrackets(short(state.bias[c]))} = ${short(output[index])}`;
    };
    const c = state.channel;
    const inEval = numberBlocks(state, output, "inferred", `y in eval mode, ${state.channelName}`,
      resolutionOf(Math.abs(state.weight[c])));
    const blocks = [html("h3", {}, `Eval mode, ${state.channelName}`),
      html("p", { class: "formula" }, "y = weight · (x − running_mean) / √(running_var + eps) + bias"), inEval];
    if (trained === null) {
      replace("modes-text", html("p", {}, "Training mode refuses this batch; eval mode takes it."));
      replace("modes-blocks", blocks);
      return replace("modes-table");
    }
    replace("modes-text", html("p", {}, `After ${counted(steps, "step")}, as set above. `
      + "The two outputs come together when the running statistics have come to those of the batches."));
    replace("modes-blocks", html("h3", {}, `Training mode, ${state.channelName}`),
      numberBlocks(state, trained.output, "output", `y in training mode, ${state.channelName}`,
        resolutionOf(Math.abs(state.weight[c]))), blocks);
    const { rows, note } = shownRows(state.shape[1], c, "channels");
    const farthest = (channel) => channelIndices(state.shape, channel)
      .reduce((most, index) => Math.max(most, Math.abs(trained.output[index] - output[index])), 0);
    return replace("modes-table", table("Training and eval mode in each channel",
      ["", "mean used in training", "in eval", "variance used in training", "in eval", "largest difference of y"],
      rows.map((channel) => [names[channel], short(trained.mean[channel]), short(runningNow.mean[channel]),
        short(trained.variance[channel]), short(runningNow.variance[channel]), short(farthest(channel))]), "stats"), note);
  }

  function alone(state, trained, runningNow, steps, names) {
    const [, C, H, W] = state.shape;
    const size = C * H * W, n = state.example;
    const batch = { shape: [1, C, H, W], values: state.values.slice(n * size, (n + 1) * size) };
    const found = arithmetic.train(batch, state);
    const inEval = arithmetic.infer(batch, state, runningNow);
    const positions = H * W;
    const given = { 2: `[1, ${C}]`, 3: `[1, ${C}, ${W}]`, 4: `[1, ${C}, ${H}, ${W}]` }[state.rank];
    replace("one-text", html("p", {}, found === null
      ? "With one example and one position a channel has one value. It is its own mean, its variance is 0, and "
        + "every output would be the bias, whatever the input. torch refuses it in training mode: "
      : `Alone, the ${positions} positions of one image are the whole batch. In training mode example ${n} is `
        + "then normalized by itself: its own brightness and contrast are taken out, as instance norm does, and "
        + "its output is another than in company. In eval mode nothing changes."),
      found === null ? html("p", {}, html("code", {},
        `ValueError: Expected more than 1 value per channel when training, got input size torch.Size(${given})`)) : null,
      found === null ? html("p", {}, `Eval mode takes it. The running statistics are those after ${counted(steps, "step")}.`) : null);
    const { rows, note } = shownRows(C, state.channel, "channels");
    const first = (values, channel, offset) => short(values[offset + channel * positions]);
    replace("one-table", table(`Example ${n} alone and in its batch`,
      ["", "mean alone", "in the batch", "variance alone", "in the batch", "first y alone", "in the batch", "in eval mode"],
      rows.map((c) => [names[c],
        short(found ? found.mean[c] : batch.values[c]), trained ? short(trained.mean[c]) : "–",
        short(found ? found.variance[c] : 0), trained ? short(trained.variance[c]) : "–",
        found ? first(found.output, c, 0) : "refused", trained ? first(trained.output, c, n * size) : "refused",
        first(inEval, c, 0)]), "stats"), note);
  }

  const KINDS = [["batch", "Batch norm", "N and H·W"], ["layer", "Layer norm", "C and H·W"],
                 ["instance", "Instance norm", "H·W"], ["group", "Group norm", "H·W and the channels of a group"]];

  function axes(state) {
    const chosen = { example: state.example, channel: state.channel };
    const [, C, H, W] = state.shape;
    const index = (n, c) => (n * C + c) * H * W;
    const at = index(chosen.example, chosen.channel);
    const pictures = [], rows = [];
    for (const [kind, name, over] of KINDS) {
      const found = arithmetic.normalizeBy(kind, state, state.eps, state.groups);
      const set = found.setOf[at];
      pictures.push(cubes.picture(`${name}: over ${over}`, state.shape, chosen, (n, c) => found.setOf[index(n, c)] === set));
      rows.push([name, over, String(found.count), String(found.size), short(found.mean[set]), short(found.variance[set]),
                 short(found.normalized[at])]);
    }
    const places = [["examples", state.shape[0], cubes.MOST], ["channels", C, cubes.MOST],
                    ["positions", H * W, cubes.MOST_POSITIONS]].filter(([, size, most]) => size > most);
    replace("cubes", pictures);
    replace("axes-table",
      places.length ? html("p", { class: "note" },
        `Drawn are ${places.map(([what, size, most]) => `${most} of ${size} ${what}`).join(", ")}; the table counts all.`) : null,
      table("The four norms on this batch", ["", "averages over", "means", "values in each", "mean of the marked", "variance",
        "first x_hat"], rows, "stats axes"),
      html("p", { class: "note" }, "Group norm with 1 group is layer norm; with as many groups as channels it is instance norm."),
      H * W === 1 ? html("p", { class: "note" },
        "With one position, instance norm has one value in each set, and all its outputs are 0: torch refuses it.") : null);
  }

  function sigmoid(state, trained) {
    if (trained === null) {
      replace("sigmoid-picture", notComputed());
      return replace("sigmoid-table");
    }
    const without = own(state, state.values, state.channel), withNorm = own(state, trained.output, state.channel);
    replace("sigmoid-picture", charts.sigmoid(without, withNorm));
    const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const row = (name, values) => {
      const slopes = values.map(arithmetic.sigmoidSlope);
      const saturated = slopes.filter((slope) => slope < 0.0125).length;
      return [name, ...format([Math.min(...values), Math.max(...values)]), short(average(slopes)), `${saturated} of ${values.length}`];
    };
    return replace("sigmoid-table",
      table("The slope of the sigmoid", ["", "least input", "largest", "average slope", "saturated"],
        [row("without batch norm", without), row("with batch norm", withNorm)], "stats"),
      html("p", { class: "note" }, "The slope, σ · (1 − σ), multiplies the gradient. It is 0.25 at most, at 0; below "
        + "0.0125, 5 % of that, a value counts as saturated. A large weight or bias saturates it again: try one above."));
  }

  return { histograms, running, modes, alone, axes, sigmoid };
})();
