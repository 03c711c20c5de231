"use strict";
// The charts: drawn from the JSON beside them, and shown or hidden by model and class.
const charts = Array.from(document.querySelectorAll(".chart"));
const models = Array.from(document.querySelectorAll("button.model"));
const classes = document.getElementById("class");

function isShown(trace) {
  const { model, class: column } = trace.meta;
  const pressed = model < 0 || models[model].getAttribute("aria-pressed") === "true";
  return pressed && (column < 0 || column === Number(classes.value));
}

function showChosen() {
  for (const chart of charts) {
    Plotly.restyle(chart, { visible: chart.data.map(isShown) });
  }
}

for (const button of models) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    showChosen();
  });
}
classes.addEventListener("change", showChosen);

// Light and dark: the colours of the page's own style, in the charts too.
const root = document.documentElement;
const toggle = document.getElementById("theme");
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function readColours() {
  const style = getComputedStyle(root);
  const [ink, line, panel] = ["--ink", "--line", "--panel"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: line, linecolor: line, tickcolor: line };
  const layout = { "font.color": ink, "hoverlabel.bgcolor": panel, "hoverlabel.font.color": ink };
  for (const name of ["xaxis", "yaxis"]) {
    for (const [key, value] of Object.entries(axis)) layout[`${name}.${key}`] = value;
  }
  return layout;
}

function setTheme(isDark) {
  root.dataset.theme = isDark ? "dark" : "light";
  toggle.setAttribute("aria-pressed", String(isDark));
  for (const chart of charts) if (chart.data) Plotly.relayout(chart, readColours());
}

toggle.addEventListener("click", () => setTheme(root.dataset.theme !== "dark"));
prefersDark.addEventListener("change", (event) => setTheme(event.matches));
setTheme(prefersDark.matches);

for (const chart of charts) {
  const figure = JSON.parse(document.getElementById(chart.id.replace("chart-", "json-")).textContent);
  for (const trace of figure.data) trace.visible = isShown(trace);
  Plotly.newPlot(chart, figure.data, figure.layout, { responsive: true, displayModeBar: false });
}
setTheme(prefersDark.matches);

// Tables: a column's button sorts by it, first from the largest.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.addEventListener("click", () => {
      const isText = "text" in button.dataset;
      const was = head.getAttribute("aria-sort");
      const rises = was ? was === "descending" : isText;
      const rows = Array.from(table.tBodies[0].rows);
      const value = (row) => row.cells[column].dataset.value;
      const number = (row) => (Number.isNaN(Number(value(row))) ? -Infinity : Number(value(row)));
      rows.sort((a, b) => (isText ? value(a).localeCompare(value(b)) : number(a) - number(b)) * (rises ? 1 : -1));
      table.tBodies[0].append(...rows);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rises ? "ascending" : "descending");
    });
  });
}

// Copying: where the browser refuses, the text is selected instead.
for (const box of document.querySelectorAll(".copy")) {
  const button = box.querySelector("button");
  button.addEventListener("click", async () => {
    const text = box.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.textContent = "Selected";
    }
  });
}

// On paper everything is open and light.
let before = null;
window.addEventListener("beforeprint", () => {
  before = { theme: root.dataset.theme, closed: Array.from(document.querySelectorAll("details:not([open])")) };
  before.closed.forEach((details) => { details.open = true; });
  setTheme(false);
});
window.addEventListener("afterprint", () => {
  before.closed.forEach((details) => { details.open = false; });
  setTheme(before.theme === "dark");
});
