"use strict";
// Numbers as text, and text as numbers: what is shown, and what a field or a pasted batch holds.
const numbers = (() => {
  // Beyond this a variance, which squares, would leave the range of float64.
  const LARGEST = 1e100;
  const PLAIN = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

  // Texts with decimals in common, as few as show what is to be seen: the same rule as the text of
  // `bnkit explain`. resolution: smallest difference of interest; keepSmall: numbers far smaller
  // than the largest are of interest too.
  function format(values, resolution = 0, keepSmall = false) {
    const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    if (largest === 0) return values.map(() => "0");
    const step = Math.min(resolution || Infinity, largest * 1e-4);
    const lastPlace = step > 0 ? Math.floor(Math.log10(step)) : -324;
    const firstPlace = Math.floor(Math.log10(largest));
    const digits = Math.min(Math.max(firstPlace - lastPlace + 1, 5), 15);
    const decimals = Math.max(0, digits - 1 - firstPlace);
    const isLost = (value) => value !== 0 && Math.abs(value) < 10 ** (2 - decimals);
    if ((keepSmall && values.some(isLost)) || decimals > 9 || firstPlace > 8) {
      return values.map((value) => significant(value, digits));
    }
    return stripCommonZeros(values.map((value) => value.toFixed(decimals)));
  }

  // A number with so many digits at most, without trailing zeros; powers of ten where it is long.
  function significant(value, digits) {
    if (value === 0) return "0";
    const [mantissa, exponent] = value.toExponential(digits - 1).split("e");
    const power = Number(exponent);
    const trim = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    if (power < -4 || power >= digits) {
      const sign = power < 0 ? "-" : "+";
      return `${trim(mantissa)}e${sign}${String(Math.abs(power)).padStart(2, "0")}`;
    }
    return trim(value.toFixed(Math.max(0, digits - 1 - power)));
  }

  function stripCommonZeros(texts) {
    let stripped = texts;
    while (stripped.every((text) => text.includes(".") && text.endsWith("0"))) {
      stripped = stripped.map((text) => text.slice(0, -1));
    }
    return stripped.map((text) => text.replace(/\.$/, ""))
      .map((text) => (Number(text) === 0 ? text.replace("-", "") : text));
  }

  // 1/10000 of a scale, or 0, no wish, where there is none.
  const resolutionOf = (scale) => (scale > 0 ? scale * 1e-4 : 0);
  const smallestResolution = (scales) => {
    const positive = scales.map(Math.abs).filter((scale) => scale > 0);
    return positive.length ? Math.min(...positive) * 1e-4 : 0;
  };

  const shorten = (text) => (text.length > 20 ? `${text.slice(0, 20)}…` : text);

  // What a field holds: { value }, or { error } as a sentence.
  // least and most are the ends of what is allowed; why says what they are for.
  function parse(text, { least = -LARGEST, most = LARGEST, why = "a variance squares it" } = {}) {
    const trimmed = text.trim().replace(/^\u2212/, "-").replace(/e\u2212/i, "e-");
    if (trimmed === "") return { error: "This field is empty. Give a number, such as 1.5." };
    if (/^[+-]?nan$/i.test(trimmed)) {
      return { error: "NaN makes the mean, and with it the whole channel, NaN. Give a number." };
    }
    if (/^[+-]?(inf|infinity|\u221e)$/i.test(trimmed)) {
      return { error: "Infinity makes the mean infinite and x − mean NaN. Give a finite number." };
    }
    if (/^[+-]?\d+,\d+$/.test(trimmed)) {
      return { error: `“${shorten(trimmed)}”: write the decimals behind a point, not a comma.` };
    }
    if (!PLAIN.test(trimmed)) {
      return { error: `“${shorten(trimmed)}” is not a number. Give one, such as 1.5 or -2e-3.` };
    }
    const value = Number(trimmed);
    if (!(value >= least && value <= most)) {
      return { error: `${shorten(trimmed)} is out of range: it must lie between ${least} and ${most}, `
                      + `because ${why}.` };
    }
    return { value: value === 0 ? 0 : value };
  }

  return { LARGEST, format, significant, parse, shorten, resolutionOf, smallestResolution };
})();
