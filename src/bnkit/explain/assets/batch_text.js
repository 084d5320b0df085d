"use strict";
// A pasted batch: the JSON that `bnkit explain --input` takes, or rows of numbers.
const batchText = (() => {
  const KEYS = ["x", "weight", "bias", "eps", "momentum", "running_mean", "running_var"];
  const OTHER_NAMES = { gamma: "weight", beta: "bias", epsilon: "eps", input: "x" };
  // A page with more numbers than this answers slowly.
  const MOST_VALUES = 16384;
  const FORM = "It must hold nested lists of numbers of shape (N, C), (N, C, L) or (N, C, H, W), an "
    + "object with such lists as “x”, or rows of numbers, one row per example.";

  class Refusal extends Error {}
  const refuse = (text) => { throw new Refusal(text); };

  // { batch } or { error }. batch: shape [N, C, H, W], rank, values, and the settings that the text
  // gives, undefined where it gives none.
  function parse(text) {
    try {
      return { batch: read(text) };
    } catch (error) {
      if (error instanceof Refusal) return { error: error.message };
      throw error;
    }
  }

  function read(text) {
    const trimmed = text.trim();
    if (trimmed === "") refuse(`The text is empty. ${FORM}`);
    const content = /^[[{]/.test(trimmed) ? readJson(trimmed) : readRows(trimmed);
    const given = Array.isArray(content) ? { x: content } : content;
    for (const key of Object.keys(given)) {
      if (!KEYS.includes(key)) {
        const meant = Object.hasOwn(OTHER_NAMES, key) ? ` Perhaps “${OTHER_NAMES[key]}” is meant.` : "";
        refuse(`Unknown key “${numbers.shorten(key)}”: the keys are ${KEYS.join(", ")}.${meant}`);
      }
    }
    if (!Object.hasOwn(given, "x")) refuse("The object has no key “x”, the batch itself.");
    const { sizes, flat } = readArray(given.x, "x");
    const shape = checkShape(sizes);
    return { shape, rank: sizes.length, values: flat, ...readSettings(given, shape[1]) };
  }

  function readJson(text) {
    // JSON has no NaN, and Python writes it nevertheless; without this the message would speak of
    // an unexpected letter.
    const outside = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
    const bad = outside.match(/-?\b(NaN|Infinity)\b/);
    if (bad) refuse(`The text holds ${bad[0]}. Every value must be a finite number: one such value `
                    + "makes the whole channel NaN.");
    try {
      return JSON.parse(text);
    } catch (error) {
      return refuse(`The text is not JSON (${error.message}). ${FORM}`);
    }
  }

  // Lines of numbers with commas, semicolons, tabs or spaces between them: shape (N, C).
  function readRows(text) {
    const lines = text.split(/\r?\n/).filter((line) => line.trim() !== "");
    return lines.map((line, row) => line.trim().split(/\s*[,;\t]\s*|\s+/).map((word, column) => {
      const { value, error } = numbers.parse(word);
      return error ? refuse(`Row ${row + 1}, column ${column + 1}: ${error}`) : value;
    }));
  }

  function readArray(content, name) {
    if (!Array.isArray(content)) refuse(`${name} is ${kindOf(content)}: it must be a list of numbers.`);
    const sizes = [];
    for (let part = content; Array.isArray(part); [part] = part) {
      sizes.push(part.length);
      if (sizes.length > 8 || part.length === 0) break;
    }
    const flat = [];
    collect(content, name, sizes, flat);
    return { sizes, flat };
  }

  function collect(content, place, sizes, flat) {
    if (sizes.length === 0) {
      if (typeof content !== "number") refuse(`${place} is ${kindOf(content)}: a number must stand there.`);
      if (Math.abs(content) > numbers.LARGEST) {
        refuse(`${place} is ${content}: it must lie between −1e100 and 1e100, because a variance squares it.`);
      }
      flat.push(content === 0 ? 0 : content);
      return;
    }
    if (!Array.isArray(content) || content.length !== sizes[0]) {
      const found = Array.isArray(content) ? `a list of ${content.length}` : kindOf(content);
      refuse(`${place} is ${found}, and the first entry on its level is a list of ${sizes[0]}: all must `
             + "have the same length. Look for a missing number or bracket.");
    }
    content.forEach((part, index) => collect(part, `${place}[${index}]`, sizes.slice(1), flat));
  }

  function kindOf(content) {
    if (content === null) return "null";
    if (Array.isArray(content)) return "a list";
    if (typeof content === "string") return `the text “${numbers.shorten(content)}”`;
    return typeof content === "object" ? "an object" : String(content);
  }

  function checkShape(sizes) {
    if (sizes.length < 2 || sizes.length > 4) {
      refuse(`x has ${sizes.length} ${sizes.length === 1 ? "axis" : "axes"}: it must have shape (N, C), (N, C, L) `
             + "or (N, C, H, W). Give one row per example, and in it one entry per channel.");
    }
    if (sizes.includes(0)) refuse(`x has shape (${sizes.join(", ")}): a mean needs values.`);
    const all = arithmetic.product(sizes);
    if (all > MOST_VALUES) {
      refuse(`x has ${all} values, and this page takes ${MOST_VALUES}. Leave out some examples.`);
    }
    const [N, C, ...positions] = sizes;
    return [N, C, ...(positions.length === 2 ? positions : [1, positions[0] ?? 1])];
  }

  function readSettings(given, channels) {
    const settings = {};
    for (const key of ["weight", "bias", "running_mean", "running_var"]) {
      if (!Object.hasOwn(given, key)) continue;
      const { sizes, flat } = readArray(given[key], key);
      if (sizes.length !== 1 || sizes[0] !== channels) {
        refuse(`${key} has ${flat.length} values, and x has ${channels} channels: one per channel is needed.`);
      }
      const wrong = key === "running_var" ? flat.findIndex((value) => value < 0) : -1;
      if (wrong >= 0) refuse(`running_var[${wrong}] is ${flat[wrong]}: a variance is never below 0.`);
      settings[key] = flat;
    }
    for (const [key, least, most] of [["eps", 1e-100, 1e100], ["momentum", 0, 1]]) {
      if (!Object.hasOwn(given, key)) continue;
      const value = given[key];
      if (typeof value !== "number" || !(value >= least && value <= most)) {
        refuse(`${key} is ${kindOf(value)}: it must be a number between ${least} and ${most}.`);
      }
      settings[key] = value;
    }
    return settings;
  }

  // The batch and its layer as the JSON that `bnkit explain --input` takes.
  function write(state) {
    const { shape, rank, values } = state;
    const sizes = rank === 4 ? shape : rank === 3 ? [shape[0], shape[1], shape[3]] : shape.slice(0, 2);
    let at = 0;
    const nest = (left) => (left.length === 0 ? values[at++]
      : Array.from({ length: left[0] }, () => nest(left.slice(1))));
    const settings = { weight: state.weight, bias: state.bias, eps: state.eps,
                       ...(state.momentum === null ? {} : { momentum: state.momentum }),
                       running_mean: state.runningMean, running_var: state.runningVar };
    const lines = Object.entries({ x: nest(sizes), ...settings })
      .map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)}`);
    return `{\n${lines.join(",\n")}\n}`;
  }

  return { parse, write, MOST_VALUES };
})();
