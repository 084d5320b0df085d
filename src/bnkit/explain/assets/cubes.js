"use strict";
// The batch as a block of cubes, with those marked that share one mean: examples to the right,
// channels into the depth, positions downwards.
const cubes = (() => {
  const { html, svg } = elements;
  const SIDE = 18, DEPTH_X = 13, DEPTH_Y = 9;
  const MOST = 6, MOST_POSITIONS = 9;

  // The part of an axis that is drawn: at most 6 places, the chosen one among them.
  function window(size, chosen) {
    const shown = Math.min(size, MOST);
    const first = Math.max(0, Math.min(chosen - shown + 1, size - shown, chosen));
    return Array.from({ length: shown }, (_, index) => first + index);
  }

  // isMarked(n, c) tells whether the values of that example and channel are of the set.
  function picture(title, shape, chosen, isMarked) {
    const [N, C, H, W] = shape;
    const examples = window(N, chosen.example), channels = window(C, chosen.channel);
    const positions = Math.min(H * W, MOST_POSITIONS);
    const width = examples.length * SIDE + channels.length * DEPTH_X;
    const height = positions * SIDE + channels.length * DEPTH_Y;
    const parts = [];
    // From the back to the front, so that what is nearer covers what is behind.
    for (let depth = channels.length - 1; depth >= 0; depth -= 1) {
      for (let p = positions - 1; p >= 0; p -= 1) {
        examples.forEach((n, column) => {
          const left = column * SIDE + depth * DEPTH_X;
          const top = p * SIDE + (channels.length - depth) * DEPTH_Y;
          parts.push(cube(left, top, isMarked(n, channels[depth])));
        });
      }
    }
    const [nx, ny] = [examples.length * SIDE / 2, height + 13];
    const words = [
      svg("text", { x: nx, y: ny, "text-anchor": "middle" }, "N"),
      svg("text", { x: -8, y: height - positions * SIDE / 2 + 4, "text-anchor": "end" }, W === 1 && H === 1 ? "" : "H·W"),
      svg("text", { x: channels.length * DEPTH_X / 2 - 10, y: channels.length * DEPTH_Y / 2 - 2, "text-anchor": "end" }, "C"),
    ];
    const marked = examples.reduce((all, n) => all + channels.filter((c) => isMarked(n, c)).length, 0);
    return html("figure", { class: "cubes" }, html("figcaption", {}, title),
      svg("svg", { viewBox: `-40 -12 ${width + 46} ${height + 32}`, role: "img",
                   style: `width: ${(width + 46) * 1.35}px`,
                   "aria-label": `${title}: ${marked} of ${examples.length * channels.length} drawn columns of cubes are marked` },
      parts, words));
  }

  function cube(left, top, isMarked) {
    const points = (...list) => list.map(([x, y]) => `${left + x},${top + y}`).join(" ");
    const face = (name, list) => svg("polygon", { class: `face ${name}${isMarked ? " marked" : ""}`, points: points(...list) });
    return [
      face("front", [[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]]),
      face("top", [[0, 0], [DEPTH_X, -DEPTH_Y], [SIDE + DEPTH_X, -DEPTH_Y], [SIDE, 0]]),
      face("right", [[SIDE, 0], [SIDE + DEPTH_X, -DEPTH_Y], [SIDE + DEPTH_X, SIDE - DEPTH_Y], [SIDE, SIDE]]),
    ];
  }

  return { picture, MOST, MOST_POSITIONS };
})();
