"use strict";
(() => {
  // What a link names is opened, with all that it is folded in.
  const show = (hash) => {
    const target = hash.length > 1 && document.getElementById(hash.slice(1));
    if (!target) return;
    for (let at = target; at; at = at.parentElement)
      if (at.tagName === "DETAILS") at.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", () => show(location.hash));
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.hash === location.hash) show(link.hash);
  });
  show(location.hash);

  // A table as text that a spreadsheet takes.
  const told = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
  const tsv = (table) =>
    [...table.rows].map((row) => [...row.cells].map(told).join("\t")).join("\n");
  const copy = (text) => {
    document.addEventListener("copy", (event) => {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
    }, { once: true });
    document.execCommand("copy");
  };
  for (const table of document.querySelectorAll("table")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy as TSV";
    button.setAttribute("aria-label", `Copy as TSV: ${told(table.caption)}`);
    button.addEventListener("click", () => {
      copy(tsv(table));
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy as TSV"; }, 1500);
    });
    (table.closest(".scroll") ?? table).after(button);
  }

  // On paper nothing is folded away.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
  document.documentElement.dataset.ready = "true";
})();
