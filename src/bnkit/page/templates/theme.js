"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const announce = () => document.dispatchEvent(new Event("themechange"));
  document.getElementById("theme").addEventListener("change", (event) => {
    root.dataset.theme = event.target.value;
    announce();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", announce);
  matchMedia("print").addEventListener("change", announce);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((part) => { part.open = true; });
  });
})();
