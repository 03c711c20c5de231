// What the bundle is, what it takes, and what it cannot know.

import { count, find, formatPercent, make } from "./dom.js";

const RATES = [0.05, 0.1, 0.2];
const USUAL_RATE = 0.1;
const FIELDS = {
  age: () => make("input", { type: "number", id: "with-age", name: "age", min: 0, max: 120, step: "any", inputmode: "decimal" }),
  sex: () => {
    const options = [["", "not known"], ["0", "male"], ["1", "female"]]; // as in PTB-XL's table
    return make("select", { id: "with-sex", name: "sex" }, options.map(([value, text]) => make("option", { value }, text)));
  },
};

/** Show the bundle in the page's head, foot and table of limits. */
export function showBundle(bundle) {
  document.title = `${bundle.name}: ecgcls`;
  find("model").textContent = bundle.name;
  find("description").textContent = bundle.description;
  const { input } = bundle;
  const facts = [
    bundle.version && `Version ${bundle.version}`,
    bundle.training_data && `Training data: ${bundle.training_data}`,
    [bundle.model, bundle.members.length ? `of ${bundle.members.join(", ")}` : "", bundle.n_nets > 1 ? `mean of ${count(bundle.n_nets, "net")}` : ""].filter(Boolean).join(", "),
    bundle.variant && `Variant: ${bundle.variant}`,
    bundle.trained && `Trained on ${bundle.trained}`,
    count(bundle.classes.length, "class", "classes"),
    `${count(input.lead_names.length, "lead")}, ${input.sampling_rate_hz} Hz, windows of ${Number(input.duration_s.toFixed(2))} s`,
    bundle.license && `License: ${bundle.license}`,
  ].filter(Boolean);
  const api = make("li", {}, make("a", { href: "docs" }, "API documentation"));
  find("facts").replaceChildren(...facts.map((fact) => make("li", {}, fact)), api);
  find("formats").textContent = `Formats: ${bundle.formats.join(", ")}; up to ${bundle.limits.max_upload_mb} MB at once.`;
  const use = bundle.description.includes(bundle.intended_use) ? "" : bundle.intended_use;
  find("made-with").textContent = use;
  find("synthetic").hidden = !bundle.is_synthetic;
  showLimits(bundle);
  showPatient(input.metadata);
  showRates(bundle);
}

function showLimits(bundle) {
  const rows = bundle.unknown.map(({ topic, says }) => make("tr", {}, make("th", { scope: "row" }, topic), make("td", {}, says)));
  find("limits").tBodies[0].replaceChildren(...rows);
}

function showPatient(names) {
  find("patient").hidden = !names.length;
  const fields = names.map((name) => {
    const input = FIELDS[name]?.() ?? make("input", { type: "number", id: `with-${name}`, name, step: "any" });
    const unit = name === "age" ? " (years)" : "";
    return make("p", { class: "field" }, make("label", { for: input.id }, name[0].toUpperCase() + name.slice(1) + unit), input);
  });
  find("patient-fields").replaceChildren(...fields);
}

/** Return what the reader has filled in: {age: 63, sex: 1}; null if nothing. A field that is no number is refused. */
export function readPatient() {
  const fields = Array.from(find("patient-fields").querySelectorAll("input, select"));
  const wrong = fields.find((field) => !field.checkValidity());
  if (wrong) {
    wrong.focus();
    throw new RangeError(`${wrong.labels[0].textContent}: ${wrong.validationMessage}`);
  }
  const known = fields.filter(({ value }) => value !== "").map(({ name, value }) => [name, Number(value)]);
  return known.length ? Object.fromEntries(known) : null;
}

function showRates(bundle) {
  find("rate-field").hidden = !bundle.can_be_certain;
  const options = RATES.map((rate) => make("option", { value: rate, selected: rate === USUAL_RATE }, formatPercent(rate)));
  find("rate").replaceChildren(...options, make("option", { value: "" }, "none"));
}

export function readRate() {
  const field = find("rate");
  return find("rate-field").hidden || !field.value ? null : Number(field.value);
}
