"use strict";
// Elements, tables and numbers that tell what they were computed from.
const elements = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MOST_ROWS = 12;
  // What is shown of a large batch: whole examples as long as they fit.
  const MOST_SIDE = 16, MOST_CELLS = 256;
  // Name of a quantity → function from a number's index to the sentence that says how it came about.
  const derivations = {};

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children.flat(3).filter((child) => child !== null && child !== undefined));
    return node;
  }
  const html = (tag, attributes = {}, ...children) =>
    fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  // A number that says how it was computed when it is pointed at, reached by keyboard, or tapped.
  const number = (text, name, index) =>
    html("span", { class: "number", tabindex: "-1", "data-name": name, "data-index": index }, text);

  function table(caption, head, rows, className = "") {
    return html("div", { class: "scroll" }, html("table", { class: className },
      html("caption", { class: "only-read" }, caption),
      html("thead", {}, html("tr", {}, head.map((text) => html("th", { scope: "col" }, text)))),
      html("tbody", {}, rows.map(([first, ...cells]) =>
        html("tr", {}, html("th", { scope: "row" }, first), cells.map((cell) => html("td", {}, cell)))))));
  }

  // The rows of a table of channels or sets that are shown, and a note if these are not all.
  function shownRows(count, chosen, what) {
    const rows = Array.from({ length: Math.min(count, MOST_ROWS) }, (_, index) => index);
    if (chosen >= rows.length) rows[rows.length - 1] = chosen;
    const note = count > rows.length
      ? html("p", { class: "note" }, `${rows.length} of ${count} ${what} are shown; all were computed.`) : null;
    return { rows, note };
  }

  function visibleExtent([N, , H, W]) {
    const rows = Math.min(H, MOST_SIDE), columns = Math.min(W, MOST_SIDE);
    const examples = Math.min(N, Math.max(1, Math.floor(MOST_CELLS / (rows * columns))));
    return { examples, rows, columns, isWhole: examples === N && rows === H && columns === W };
  }

  const flatIndex = ([, C, H, W], n, c, h, w) => ((n * C + c) * H + h) * W + w;

  // One channel of a batch as a small table per example. cell: flat index → what stands in the cell.
  function blocks(shape, channel, label, cell) {
    const extent = visibleExtent(shape);
    const count = (length) => Array.from({ length }, (_, index) => index);
    const pieces = count(extent.examples).map((n) => html("table", { class: "values" },
      html("caption", {}, html("span", { class: "only-read" }, `${label}, `), `example ${n}`),
      html("tbody", {}, count(extent.rows).map((h) => html("tr", {}, count(extent.columns).map((w) =>
        html("td", {}, cell(flatIndex(shape, n, channel, h, w), [n, channel, h, w]))))))));
    const note = extent.isWhole ? null : html("p", { class: "note" },
      `Shown are ${extent.examples} of ${shape[0]} examples, ${extent.rows} × ${extent.columns} of `
      + `${shape[2]} × ${shape[3]} positions; every value was computed.`);
    return [html("div", { class: "blocks scroll", role: "group", "aria-label": label }, pieces), note];
  }

  // The values of one channel with decimals in common, each a number of the quantity `name`.
  function numberBlocks(state, values, name, label, resolution) {
    const { shape, channel } = state;
    const own = channelIndices(shape, channel);
    const texts = new Map(numbers.format(own.map((index) => values[index]), resolution)
      .map((text, place) => [own[place], text]));
    return blocks(shape, channel, label, (index) => number(texts.get(index), name, index));
  }

  function channelIndices([N, C, H, W], channel) {
    const found = [];
    for (let n = 0; n < N; n += 1) {
      for (let p = 0; p < H * W; p += 1) found.push((n * C + channel) * H * W + p);
    }
    return found;
  }

  const placeOf = ([, C, H, W], rank, index) => {
    const w = index % W, h = Math.floor(index / W) % H, c = Math.floor(index / (W * H)) % C;
    const n = Math.floor(index / (W * H * C));
    return (rank === 4 ? [n, c, h, w] : rank === 3 ? [n, c, w] : [n, c]).join(", ");
  };

  // Let numbers speak: on hover, tap and focus their derivation goes to the line of their section.
  function explainNumbers(root, say) {
    const show = (event, isSpoken) => {
      const found = event.target.closest?.(".number");
      if (!found) return;
      const line = found.closest("[data-explains]")?.querySelector(".derivation");
      const text = derivations[found.dataset.name]?.(Number(found.dataset.index));
      if (!line || !text) return;
      line.textContent = text;
      root.querySelectorAll(".number.explained").forEach((other) => other.classList.remove("explained"));
      found.classList.add("explained");
      if (isSpoken) say(text);
    };
    root.addEventListener("pointerover", (event) => show(event, false));
    root.addEventListener("focusin", (event) => show(event, true));
    root.addEventListener("click", (event) => event.target.closest?.(".number")?.focus());
    root.addEventListener("keydown", moveBetweenNumbers);
  }

  // Arrow keys go to the neighbour in that direction; a group of numbers is one stop of the Tab key.
  function moveBetweenNumbers(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const from = event.target.closest?.(".number");
    if (!direction || !from) return;
    event.preventDefault();
    const [dx, dy] = direction;
    const here = from.getBoundingClientRect();
    const middle = (box) => [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
    const [x, y] = middle(here);
    let best = null, least = Infinity;
    for (const other of from.closest("[data-explains]").querySelectorAll(".number")) {
      const [ox, oy] = middle(other.getBoundingClientRect());
      const along = (ox - x) * dx + (oy - y) * dy;
      const across = Math.abs((ox - x) * dy) + Math.abs((oy - y) * dx);
      if (along > 2 && along + 4 * across < least) [best, least] = [other, along + 4 * across];
    }
    if (!best) return;
    from.tabIndex = -1;
    best.tabIndex = 0;
    best.focus();
  }

  // Put new content into a section: its first number is a stop of the Tab key and explains itself.
  function replace(id, ...children) {
    const holder = document.getElementById(id);
    const active = holder.contains(document.activeElement) ? document.activeElement : null;
    const at = active?.dataset.name
      ? `.number[data-name="${active.dataset.name}"][data-index="${active.dataset.index}"]` : null;
    holder.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined));
    const first = (at && holder.querySelector(at)) || holder.querySelector(".number");
    if (!first) {
      const line = holder.closest("[data-explains]")?.querySelector(".derivation");
      if (line && !holder.closest("[data-explains]").querySelector(".number")) line.textContent = "";
      return;
    }
    first.tabIndex = 0;
    if (at) first.focus({ preventScroll: true });
    const line = holder.closest("[data-explains]")?.querySelector(".derivation");
    if (line && !at) {
      line.textContent = derivations[first.dataset.name]?.(Number(first.dataset.index)) ?? "";
    }
  }

  // What scrolls sideways must be reached by keyboard too, and only that is a stop of the Tab key.
  function reachScrolls() {
    document.querySelectorAll(".scroll, .block").forEach((place) => {
      const name = place.getAttribute("aria-label") ?? place.querySelector("caption")?.textContent ?? "Numbers";
      const isWide = place.scrollWidth > place.clientWidth;
      for (const [key, value] of Object.entries({ tabindex: "0", role: "group", "aria-label": name })) {
        if (isWide) place.setAttribute(key, value);
        else if (key === "tabindex") place.removeAttribute(key);
      }
    });
  }

  const sumText = (texts) => {
    const most = 6;
    const signed = texts.map((text) => (text.startsWith("-") ? `(${text})` : text));
    if (signed.length <= most) return signed.join(" + ");
    return `${signed.slice(0, most - 2).join(" + ")} + … + ${signed.at(-1)}`;
  };
  const inBrackets = (text) => (text.startsWith("-") ? `(${text})` : text);

  return { html, svg, number, table, shownRows, visibleExtent, flatIndex, blocks, numberBlocks,
           channelIndices, placeOf, reachScrolls, explainNumbers, replace, derivations, sumText, inBrackets };
})();
