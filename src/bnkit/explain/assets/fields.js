"use strict";
// Fields for numbers. A field that holds something else says so beside itself; the page then goes
// on with the last number that it held.
const fields = (() => {
  const { html } = elements;
  let made = 0;

  // An input for a number. limits: see numbers.parse; isWhole: only whole numbers. take(value) is
  // called with every valid number. The message goes into `line`.
  function input(name, value, limits, take, line, isWhole = false) {
    const node = html("input", { type: "text", inputmode: "text", autocomplete: "off", spellcheck: "false",
                                 value: short(value), "aria-label": name, "aria-describedby": line.id });
    let held = value;
    // All digits while it is edited, few while it is read.
    node.addEventListener("focus", () => {
      if (node.value !== short(held) || node.value === String(held)) return;
      node.value = String(held);
      node.select(); // as the Tab key had selected the short text
    });
    node.addEventListener("blur", () => {
      if (node.getAttribute("aria-invalid") !== "true") node.value = short(held);
    });
    node.addEventListener("input", () => {
      const found = check(node.value, limits, isWhole);
      node.setAttribute("aria-invalid", found.error ? "true" : "false");
      if (!found.error) {
        if (line.dataset.by === name || !line.dataset.by) say(line, "", "");
        held = found.value;
        take(found.value);
      } else say(line, `${name}: ${found.error}`, name);
    });
    return node;
  }

  const short = (value) => numbers.significant(value, 6);

  function say(line, text, by) {
    line.textContent = text;
    line.dataset.by = by;
  }

  function check(text, limits, isWhole) {
    const found = numbers.parse(text, limits);
    if (found.error || !isWhole || Number.isInteger(found.value)) return found;
    return { error: `${numbers.shorten(text)} is no whole number.` };
  }

  function errorLine() {
    made += 1;
    return html("p", { class: "error", id: `error-${made}`, role: "alert" });
  }

  // A label, an input, and the place of its message below.
  function labelled(name, value, limits, take, isWhole = false) {
    const line = errorLine();
    const node = input(name, value, limits, take, line, isWhole);
    return html("div", { class: "field" }, html("label", {}, `${name} `, node), line);
  }

  return { input, labelled, errorLine };
})();
