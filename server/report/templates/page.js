"use strict";
(() => {
  const LIGHT = { ink: "#3a4149", ground: "#ffffff", rule: "#9aa4ad" };
  const DARK = { ink: "#cfd6dc", ground: "#1b2126", rule: "#5b666f" };
  const PRINTED_PX = 680; // the width of A4 within its margins
  const NARROW_PX = 520;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const plots = [...document.querySelectorAll("[data-figure]")];
  const config = { responsive: true, displayModeBar: false, displaylogo: false };

  const dressed = (colours, width) => ({
    "font.color": colours.ink,
    "font.size": width < NARROW_PX ? 11 : 13,
    "hoverlabel.bgcolor": colours.ground,
    "hoverlabel.bordercolor": colours.rule,
    "hoverlabel.font.color": colours.ink,
  });
  const dress = (plot) =>
    Plotly.relayout(plot, dressed(dark.matches ? DARK : LIGHT, plot.clientWidth));
  const dressAll = () => {
    plots.forEach(dress);
    document.documentElement.dataset.scheme = dark.matches ? "dark" : "light";
  };

  for (const plot of plots) {
    const { data, layout } = JSON.parse(
      document.getElementById(`figure-${plot.dataset.figure}`).textContent,
    );
    layout.dragmode = false; // a finger on a figure scrolls the page
    Plotly.newPlot(plot, data, layout, config);
  }
  dressAll();
  document.documentElement.dataset.drawn = "true";
  dark.addEventListener("change", dressAll);
  for (const details of document.querySelectorAll("details"))
    details.addEventListener("toggle", () =>
      details.querySelectorAll("[data-figure]").forEach((plot) => Plotly.Plots.resize(plot)),
    );

  // On paper: light, as wide as the page, and nothing folded away.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
    for (const plot of plots)
      Plotly.relayout(plot, { ...dressed(LIGHT, PRINTED_PX), autosize: false, width: PRINTED_PX });
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
    for (const plot of plots) {
      Plotly.relayout(plot, { autosize: true, width: null });
      dress(plot);
    }
  });
})();
