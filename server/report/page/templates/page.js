"use strict";
(() => {
  const LIGHT = { ink: "#3a4149", ground: "#ffffff", rule: "#9aa4ad" };
  const DARK = { ink: "#cfd6dc", ground: "#1b2126", rule: "#5b666f" };
  const PRINTED_PX = 680; // the width of A4 within its margins
  const NARROW_PX = 520;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, displaylogo: false };
  const figures = new Map();
  for (const plot of document.querySelectorAll("[data-figure]")) {
    const text = document.getElementById(`figure-${plot.dataset.figure}`).textContent;
    figures.set(plot, JSON.parse(text));
  }

  // Always from the start: a legend that has wrapped once does not find its way back by itself.
  const draw = (plot, colours, width) => {
    const { data, layout } = figures.get(plot);
    const size = width < NARROW_PX ? 11 : 13;
    Plotly.newPlot(plot, data, {
      ...layout,
      width,
      dragmode: false, // a finger on a figure scrolls the page
      font: { color: colours.ink, size },
      hoverlabel: {
        bgcolor: colours.ground,
        bordercolor: colours.rule,
        font: { color: colours.ink },
      },
    }, config);
    plot.dataset.width = width;
  };
  const drawAll = () => {
    for (const plot of figures.keys())
      draw(plot, dark.matches ? DARK : LIGHT, plot.clientWidth);
    document.documentElement.dataset.scheme = dark.matches ? "dark" : "light";
  };

  drawAll();
  document.documentElement.dataset.drawn = "true";
  dark.addEventListener("change", drawAll);
  let printing = false;
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      if (printing) return;
      for (const plot of figures.keys())
        if (plot.clientWidth !== Number(plot.dataset.width))
          draw(plot, dark.matches ? DARK : LIGHT, plot.clientWidth);
    }, 150);
  });

  // On paper: light, as wide as the page, and nothing folded away.
  let opened = [];
  addEventListener("beforeprint", () => {
    printing = true;
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
    for (const plot of figures.keys()) draw(plot, LIGHT, PRINTED_PX);
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const details of opened) details.open = false;
    drawAll();
  });
})();
