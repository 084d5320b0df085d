"use strict";
// The arithmetic of normalization, in float64. Nothing here touches the page: the tests run it
// against torch.
//
// A batch is { shape: [N, C, H, W], values } with the values in torch's order, N first, W last. A
// layer is { weight, bias, runningMean, runningVar, eps, momentum }, lists with one number per
// channel; momentum null is torch's None, a cumulative average.
const arithmetic = (() => {
  const product = (sizes) => sizes.reduce((all, size) => all * size, 1);

  // The values that share one mean, for a kind of norm: batch, layer, instance or group.
  // Returns the number of sets, how many values each holds, and value → number of its set.
  function setsOf(kind, [N, C, H, W], groups = 1) {
    const positions = H * W;
    const perSet = { batch: N * positions, layer: C * positions, instance: positions,
                     group: (C / groups) * positions }[kind];
    const count = (N * C * positions) / perSet;
    const setOf = new Int32Array(N * C * positions);
    for (let index = 0; index < setOf.length; index += 1) {
      const channel = Math.floor(index / positions) % C;
      const example = Math.floor(index / (positions * C));
      if (kind === "batch") setOf[index] = channel;
      else if (kind === "layer") setOf[index] = example;
      else if (kind === "instance") setOf[index] = example * C + channel;
      else setOf[index] = example * groups + Math.floor(channel / (C / groups));
    }
    return { count, size: perSet, setOf };
  }

  // Sum, mean, sum of squared deviations, and both variances of every set. A set's values are
  // measured from its first one: equal values then have variance 0 and no rounding error.
  function moments(values, { count, size, setOf }) {
    const first = new Array(count).fill(null);
    const shifted = new Array(count).fill(0);
    const sum = new Array(count).fill(0);
    values.forEach((value, index) => {
      const set = setOf[index];
      first[set] ??= value;
      shifted[set] += value - first[set];
      sum[set] += value;
    });
    const mean = first.map((value, set) => value + shifted[set] / size);
    const squares = new Array(count).fill(0);
    values.forEach((value, index) => { squares[setOf[index]] += (value - mean[setOf[index]]) ** 2; });
    return { sum, mean, squares, variance: squares.map((all) => all / size),
             unbiasedVariance: squares.map((all) => (size > 1 ? all / (size - 1) : null)) };
  }

  // (x − mean) / √(variance + eps), with the mean and variance of each value's set.
  function normalizeSets(values, sets, { mean, variance }, eps) {
    const invstd = variance.map((value) => 1 / Math.sqrt(value + eps));
    return values.map((value, index) => {
      const set = sets.setOf[index];
      return (value - mean[set]) * invstd[set];
    });
  }

  // Layer, instance, group or batch norm without weight and bias.
  function normalizeBy(kind, batch, eps, groups = 1) {
    const sets = setsOf(kind, batch.shape, groups);
    const found = moments(batch.values, sets);
    return { ...sets, ...found, normalized: normalizeSets(batch.values, sets, found, eps) };
  }

  // weight · x + bias, each channel its own.
  function scaleAndShift(values, [, C, H, W], weight, bias) {
    return values.map((value, index) => {
      const channel = Math.floor(index / (H * W)) % C;
      return weight[channel] * value + bias[channel];
    });
  }

  // Batch norm in training mode; null for one value per channel, which torch refuses.
  function train(batch, layer) {
    const sets = setsOf("batch", batch.shape);
    if (sets.size === 1) return null;
    const found = moments(batch.values, sets);
    const normalized = normalizeSets(batch.values, sets, found, layer.eps);
    const output = scaleAndShift(normalized, batch.shape, layer.weight, layer.bias);
    const check = moments(output, sets);
    return { ...found, size: sets.size, normalized, output,
             invstd: found.variance.map((value) => 1 / Math.sqrt(value + layer.eps)),
             outputMean: check.mean, outputVariance: check.variance };
  }

  // The running statistics after one more batch: step 1 is the first.
  function updateRunning(before, trained, momentum, step) {
    const part = momentum ?? 1 / step;
    const blend = (old, found) => old.map((value, c) => (1 - part) * value + part * found[c]);
    return { mean: blend(before.mean, trained.mean),
             variance: blend(before.variance, trained.unbiasedVariance) };
  }

  // Batch norm in eval mode: running statistics take the place of the batch's.
  function infer(batch, layer, running) {
    const sets = setsOf("batch", batch.shape);
    const normalized = normalizeSets(batch.values, sets, running, layer.eps);
    return scaleAndShift(normalized, batch.shape, layer.weight, layer.bias);
  }

  const sigmoid = (z) => (z >= 0 ? 1 / (1 + Math.exp(-z)) : Math.exp(z) / (1 + Math.exp(z)));
  // σ(z) · σ(−z) is σ(z) · (1 − σ(z)) without the difference that rounds to 0.
  const sigmoidSlope = (z) => sigmoid(z) * sigmoid(-z);

  // Counts in bins of equal width from the least to the largest value; equal values have one bin.
  function histogram(values) {
    const least = values.reduce((a, b) => Math.min(a, b));
    const largest = values.reduce((a, b) => Math.max(a, b));
    if (!(largest > least)) return { edges: [least, largest], counts: [values.length] };
    const bins = Math.min(24, Math.max(4, Math.ceil(Math.sqrt(values.length)) + 1));
    const width = (largest - least) / bins;
    const counts = new Array(bins).fill(0);
    for (const value of values) {
      counts[Math.min(bins - 1, Math.floor((value - least) / width))] += 1;
    }
    const edges = Array.from({ length: bins + 1 }, (_, i) => (i < bins ? least + i * width : largest));
    return { edges, counts };
  }

  // Random numbers that repeat: uniform by mulberry32, normal by Box and Muller.
  function randomNumbers(seed) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
    };
    const normal = () =>
      Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return { uniform, normal };
  }

  // A new batch of the same shape, each channel drawn from a normal distribution with the mean and
  // the unbiased variance that `trained` found.
  function similarBatch(batch, trained, seed) {
    const { normal } = randomNumbers(seed);
    const { setOf } = setsOf("batch", batch.shape);
    const values = batch.values.map((_, index) => {
      const channel = setOf[index];
      return trained.mean[channel] + Math.sqrt(trained.unbiasedVariance[channel]) * normal();
    });
    return { shape: batch.shape, values };
  }

  // The running statistics before any batch and after each of `steps` batches.
  function runningHistory(batch, layer, steps, seesNewBatches) {
    let running = { mean: layer.runningMean, variance: layer.runningVar };
    const history = [running];
    const trained = train(batch, layer);
    if (trained === null) return history;
    for (let step = 1; step <= steps; step += 1) {
      const seen = seesNewBatches ? train(similarBatch(batch, trained, step), layer) : trained;
      running = updateRunning(running, seen, layer.momentum, step);
      history.push(running);
    }
    return history;
  }

  return { product, setsOf, moments, normalizeBy, train, updateRunning, infer, sigmoid, sigmoidSlope,
           histogram, randomNumbers, similarBatch, runningHistory };
})();
