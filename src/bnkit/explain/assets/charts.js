"use strict";
// Pictures in SVG: histograms, lines over steps, the sigmoid. Colours come from the page's palette,
// by class, so that they follow the theme.
const charts = (() => {
  const { html, svg } = elements;
  const WIDTH = 340, HEIGHT = 190;
  const LEFT = 52, RIGHT = 10, TOP = 12, BOTTOM = 36;

  function scale([low, high], [from, to]) {
    const span = high - low || 1;
    return (value) => from + ((value - low) / span) * (to - from);
  }

  // Round numbers between low and high, about `count` of them.
  function ticks(low, high, count = 4) {
    const span = high - low;
    if (!(span > 0)) return [low];
    const power = 10 ** Math.floor(Math.log10(span / count));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count + 1);
    const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
    return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
  }

  const label = (value) => numbers.significant(value, 4).replace("-", "−");

  // The frame that all have: axes with numbers, and what they count. Returns x and y as functions.
  function frame(xs, ys, xName, yName, xTicks = ticks(...xs), yTicks = ticks(...ys)) {
    const x = scale(xs, [LEFT, WIDTH - RIGHT]), y = scale(ys, [HEIGHT - BOTTOM, TOP]);
    const parts = [
      ...yTicks.map((value) => svg("line", { class: "rule", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) })),
      ...yTicks.map((value) => svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, label(value))),
      ...xTicks.map((value) => svg("text", { x: x(value), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, label(value))),
      ...xTicks.map((value) => svg("line", { class: "tick", x1: x(value), x2: x(value), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 })),
      svg("line", { class: "tick", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }),
      svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, xName),
      svg("text", { transform: `rotate(-90 12 ${(HEIGHT - BOTTOM + TOP) / 2})`, x: 12, y: (HEIGHT - BOTTOM + TOP) / 2,
                    "text-anchor": "middle" }, yName),
    ];
    return { x, y, parts };
  }

  const figure = (title, alt, parts) => html("figure", {}, html("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": alt, class: "chart" }, parts));

  // A little room on both sides; equal ends become an interval around them.
  function widen(low, high, part = 0.04) {
    const room = (high - low) * part || Math.abs(low) * 0.1 || 1;
    return [low - room, high + room];
  }

  const extent = (values) => [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];

  function histogram(title, values, xName, colour) {
    const { edges, counts } = arithmetic.histogram(values);
    const isOne = counts.length === 1;
    const most = Math.max(...counts);
    const range = widen(edges[0], edges.at(-1));
    const { x, y, parts } = frame(range, [0, most * 1.05], xName, "how many",
      ticks(...range), ticks(0, most).filter(Number.isInteger));
    const bars = counts.map((count, bin) => {
      const left = isOne ? x(edges[0]) - 6 : x(edges[bin]);
      const right = isOne ? left + 12 : x(edges[bin + 1]);
      return svg("rect", { class: `bar colour-${colour}`, x: left, y: y(count), width: Math.max(0, right - left - 1),
                           height: y(0) - y(count) });
    });
    const [least, largest] = [edges[0], edges.at(-1)].map((value) => numbers.significant(value, 4));
    const alt = `${title}: ${values.length} values from ${least} to ${largest}; counts ${counts.join(", ")}`;
    return figure(title, alt, [...parts, ...bars]);
  }

  // A quantity over steps, with the value that it should approach.
  function approach(title, series, target, targetName, colour) {
    const range = widen(...extent([...series, target]), 0.08);
    const last = Math.max(1, series.length - 1);
    const { x, y, parts } = frame([0, last], range, "steps", "", ticks(0, last).filter(Number.isInteger));
    const path = series.map((value, step) => `${step ? "L" : "M"}${x(step)} ${y(value)}`).join("");
    const marks = series.length <= 40
      ? series.map((value, step) => svg("circle", { class: `mark colour-${colour}`, cx: x(step), cy: y(value), r: 2.5 })) : [];
    const above = y(target) > TOP + 24;
    const alt = `${title}: from ${numbers.significant(series[0], 4)} to ${numbers.significant(series.at(-1), 4)} in `
      + `${series.length - 1} steps; ${targetName} is ${numbers.significant(target, 4)}`;
    return figure(title, alt, [...parts,
      svg("line", { class: "target", x1: LEFT, x2: WIDTH - RIGHT, y1: y(target), y2: y(target) }),
      svg("text", { x: LEFT + 6, y: y(target) + (above ? -5 : 14) },
        `${targetName} = ${label(target)}`),
      svg("path", { class: `curve colour-${colour}`, d: path }), ...marks]);
  }

  // The sigmoid from −8 to 8, with marks for both sets of values; those beyond are counted at the edge.
  function sigmoid(without, withNorm) {
    const END = 8;
    const { x, y, parts } = frame([-END, END], [0, 1], "what the sigmoid is given", "σ",
      [-8, -4, 0, 4, 8], [0, 0.5, 1]);
    const path = Array.from({ length: 161 }, (_, index) => -END + index / 10)
      .map((z, index) => `${index ? "L" : "M"}${x(z)} ${y(arithmetic.sigmoid(z))}`).join("");
    const inside = (value) => Math.abs(value) <= END;
    const marks = (values, colour, isSquare) => [...new Set(values.filter(inside))].slice(0, 400).map((value) => {
      const [cx, cy] = [x(value), y(arithmetic.sigmoid(value))];
      return isSquare
        ? svg("rect", { class: `mark colour-${colour}`, x: cx - 3.5, y: cy - 3.5, width: 7, height: 7 })
        : svg("circle", { class: `mark colour-${colour}`, cx, cy, r: 3.5 });
    });
    const beyond = [["without", without, 0], ["with", withNorm, 1]].flatMap(([name, values, row]) =>
      [[-1, LEFT + 6, "start"], [1, WIDTH - RIGHT - 6, "end"]].map(([side, place, anchor]) => {
        const count = values.filter((value) => value * side > END).length;
        const text = side < 0 ? `← ${name}: ${count}` : `${name}: ${count} →`;
        return count ? svg("text", { x: place, y: (side < 0 ? y(0.3) : y(0.7)) + 14 * row, "text-anchor": anchor }, text) : null;
      }));
    return figure("Circles: without batch norm. Squares: with it. Arrows: how many lie beyond the edge.",
      `The sigmoid, with ${without.filter(inside).length} of ${without.length} values without batch norm and `
      + `${withNorm.filter(inside).length} with it between −8 and 8`,
      [...parts, svg("path", { class: "curve quiet", d: path }), ...marks(without, 1, false),
       ...marks(withNorm, 0, true), ...beyond]);
  }

  return { histogram, approach, sigmoid };
})();
