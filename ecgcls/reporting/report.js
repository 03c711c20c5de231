"use strict";
// The charts: drawn from the JSON beside them, and shown or hidden by model and class.
const charts = Array.from(document.querySelectorAll(".chart"));
const models = Array.from(document.querySelectorAll("button.model"));
const classes = document.getElementById("class");
const numbers = Array.from(document.querySelectorAll("#numbers tbody tr"));

function isModelShown(model) {
  return model < 0 || models[model].getAttribute("aria-pressed") === "true";
}

function isShown(trace) {
  const { model, class: column } = trace.meta;
  return isModelShown(model) && (column < 0 || column === Number(classes.value));
}

function showNumbers() {
  const name = classes.options[classes.selectedIndex].text;
  for (const place of document.querySelectorAll(".chosen")) place.textContent = name;
  for (const row of numbers) {
    row.hidden = row.dataset.class !== classes.value || !isModelShown(Number(row.dataset.model));
  }
}

function showChosen() {
  for (const chart of charts) Plotly.restyle(chart, { visible: chart.data.map(isShown) });
  showNumbers();
  const n_shown = models.filter((button) => button.getAttribute("aria-pressed") === "true").length;
  const name = classes.options[classes.selectedIndex].text;
  document.getElementById("shown").textContent = `${name}: ${n_shown} of ${models.length} models shown`;
}

for (const button of models) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    showChosen();
  });
}
classes.addEventListener("change", showChosen);

// Light and dark: the colors of the page's own style, in the charts too.
const root = document.documentElement;
const toggle = document.getElementById("theme");
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function readColours() {
  const style = getComputedStyle(root);
  const [ink, line, grid, panel] = ["--ink", "--line", "--grid", "--panel"].map((name) => style.getPropertyValue(name).trim());
  const axis = { gridcolor: grid, linecolor: line, tickcolor: line };
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

for (const chart of charts) {
  const figure = JSON.parse(document.getElementById(chart.id.replace("chart-", "json-")).textContent);
  for (const trace of figure.data) trace.visible = isShown(trace);
  for (const [path, value] of Object.entries(readColours())) {
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((node, key) => (node[key] ??= {}), figure.layout)[last] = value;
  }
  Plotly.newPlot(chart, figure.data, figure.layout, { responsive: true, displayModeBar: false, displaylogo: false });
}
toggle.setAttribute("aria-pressed", String(root.dataset.theme === "dark"));
showNumbers();

// Tables: the button of a column sorts by it, numbers first from the largest; what is not defined comes last.
for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.tHead.querySelectorAll("button")) {
    const head = button.closest("th");
    const isText = "text" in button.dataset;
    button.addEventListener("click", () => {
      const was = head.getAttribute("aria-sort");
      const sign = (was ? was === "descending" : isText) ? 1 : -1;
      const value = (row) => row.cells[Number(button.dataset.column)].dataset.value;
      const rows = Array.from(table.tBodies[0].rows);
      rows.sort((a, b) => {
        const [first, second] = [value(a), value(b)];
        if (first === "" || second === "") return (first === "") - (second === "");
        return sign * (isText ? first.localeCompare(second) : Number(first) - Number(second));
      });
      table.tBodies[0].append(...rows);
      for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    });
  }
}

// Copying: where the browser refuses, the text is selected instead.
for (const box of document.querySelectorAll(".copy")) {
  const button = box.querySelector("button");
  button.addEventListener("click", async () => {
    const text = box.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.firstChild.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.firstChild.textContent = "Selected";
    }
  });
}

// On paper everything is open and light, and three charts stand beside each other.
let before = null;
window.addEventListener("beforeprint", () => {
  before = { isDark: root.dataset.theme === "dark", closed: Array.from(document.querySelectorAll("details:not([open])")) };
  before.closed.forEach((details) => { details.open = true; });
  setTheme(false);
  for (const chart of charts) Plotly.relayout(chart, { autosize: false, width: 226, height: 226, "font.size": 8 });
});
window.addEventListener("afterprint", () => {
  before.closed.forEach((details) => { details.open = false; });
  setTheme(before.isDark);
  for (const chart of charts) Plotly.relayout(chart, { autosize: true, width: null, height: null, "font.size": 12 });
});
