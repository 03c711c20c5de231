// What the nets say of one recording: what was repaired, what is doubtful, and the classes.

import { capitalize, count, find, formatNumber, formatPair, formatPercent, make } from "./dom.js";

const N_SHOWN = 12; // of more classes those that are neither predicted nor yes are shown when asked for
const N_MOST = 3; // classes of a window
const SETS = { yes: "Yes", no: "No", "not certain": "Not certain", neither: "Neither" };

/** Show the answer of /api/predict for a record; `bundle` knows the classes' descriptions. */
export function showResult(name, answer, bundle) {
  find("result-heading").textContent = name;
  find("source").textContent = describeRecording(answer.recording);
  find("notes").replaceChildren(...listNotes(answer));
  showClasses(answer, bundle);
  showWindows(answer);
}

function describeRecording(recording) {
  const known = Object.entries(recording.metadata).map(([name, value]) => `${name} ${describeValue(name, value)}`);
  return [
    `${count(recording.lead_names.length, "lead")} (${recording.lead_names.join(", ")})`,
    `${Number(recording.sampling_rate_hz.toFixed(2))} Hz`, `${Number(recording.duration_s.toFixed(2))} s`, ...known,
  ].join("; ");
}

function describeValue(name, value) {
  if (value === null) return "not known";
  if (name === "sex") return value === 0 ? "male" : value === 1 ? "female" : String(value);
  return String(value);
}

function listNotes(answer) {
  const groups = [
    ["Doubtful ECG: do not rely on the decisions below", answer.unusable, true],
    ["Doubtful", answer.doubts, true],
    ["Known to the nets", answer.known ? [answer.known] : [], true],
    ["Repaired", answer.repairs, false],
  ];
  const notes = groups.filter(([, texts]) => texts.length).map(([title, texts, is_doubt]) =>
    make("div", { class: is_doubt ? "note doubt" : "note" }, make("h3", {}, title),
      make("ul", {}, texts.map((text) => make("li", {}, capitalize(text))))),
  );
  return notes.length ? notes : [make("p", { class: "soft" }, "Nothing was repaired, and nothing in it is doubtful.")];
}

/** Return the classes, those predicted first, and then the more probable ones. */
export function rank(classes) {
  return [...classes].sort((a, b) => b.is_predicted - a.is_predicted || b.probability - a.probability || b.logit - a.logit);
}

function showClasses(answer, bundle) {
  const known = new Map(bundle.classes.map((one) => [one.name, one]));
  const has_sets = answer.error_rate !== null;
  const classes = rank(answer.classes);
  const is_doubtful = answer.unusable.length > 0;
  const rows = classes.map((one) => makeRow(one, known.get(one.name), { has_sets, is_doubtful }));
  rows.forEach((row, k) => { row.hidden = k >= N_SHOWN && !classes[k].is_predicted && classes[k].certainty !== "yes"; });
  const titles = ["Class", "Probability", "Decision", ...(has_sets ? [`At ${formatPercent(answer.error_rate)} error`] : [])];
  const head = make("tr", {}, titles.map((title) => make("th", { scope: "col" }, title)));
  const table = find("classes");
  table.classList.toggle("doubtful", is_doubtful);
  table.replaceChildren(make("caption", {}, explainTable(answer)), make("thead", {}, head), make("tbody", {}, rows));
  offerRest(rows, classes);
}

function explainTable(answer) {
  const bars = "Bars show the probability; a line marks the threshold from which on a class is predicted.";
  if (answer.error_rate === null) return bars;
  const share = formatPercent(answer.error_rate);
  const notes = new Set(answer.classes.filter(({ certainty }) => certainty === null).map(({ certainty_note }) => certainty_note));
  return [
    `${bars} Among new patients like those of the training data, Yes or No is wrong for at most ${share} of those who have the class,`,
    `and for at most ${share} of those who do not. Not certain: either may be true. Neither: the ECG is unlike those with the class`,
    "and unlike those without it.", ...[...notes].filter(Boolean).map((note) => `Not stated: ${note}.`),
  ].join(" ");
}

function offerRest(rows, classes) {
  const place = find("more-classes");
  place.hidden = !rows.some((row) => row.hidden);
  if (place.hidden) return;
  const n_open = rows.filter((row, k) => row.hidden && classes[k].certainty === "not certain").length;
  const open = n_open ? `; of the others ${n_open} ${n_open === 1 ? "is" : "are"} not certain` : "";
  const button = make("button", { type: "button", "aria-controls": "classes" }, `Show all ${rows.length} classes${open}`);
  button.addEventListener("click", () => {
    rows.forEach((row) => { row.hidden = false; });
    place.hidden = true;
    find("classes").parentElement.focus();
  });
  place.replaceChildren(button);
}

/** List the windows of a long recording, each with its most probable classes. */
function showWindows({ windows, classes }) {
  find("windows").hidden = windows.length < 2;
  find("windows-summary").textContent = `Probabilities of each of ${windows.length} windows`;
  const rows = windows.length < 2 ? [] : windows.map(({ start_s, duration_s, probabilities }) => {
    const order = classes.map((_, k) => k).sort((a, b) => probabilities[b] - probabilities[a]).slice(0, N_MOST);
    const name = `${Number(start_s.toFixed(2))} to ${Number((start_s + duration_s).toFixed(2))} s`;
    const most = order.map((k) => make("td", {}, `${classes[k].name} `, make("span", { class: "number" }, formatNumber(probabilities[k]))));
    return make("tr", {}, make("th", { scope: "row" }, make("button", { type: "button", class: "link", "data-start": start_s }, name)), most);
  });
  find("windows-table").tBodies[0].replaceChildren(...rows);
}

function makeRow(one, { description, threshold_note }, { has_sets, is_doubtful }) {
  const decided = one.is_predicted ? make("span", { class: "yes" }, "Predicted") : make("span", {}, "Not predicted");
  const [probability, threshold] = formatPair(one.probability, one.threshold);
  const cells = [
    make("th", { scope: "row" }, one.name, description && description !== one.name ? make("span", { class: "soft under" }, description) : null),
    make("td", { class: "chance" }, makeBar(one.probability, one.threshold), make("span", { class: "number" }, probability),
      " ", make("span", { class: "soft" }, `(threshold ${threshold})`),
      threshold_note && make("span", { class: "soft under" }, `Threshold never tuned: ${threshold_note}`)),
    make("td", {}, decided, is_doubtful && make("span", { class: "under" }, "doubtful ECG")),
  ];
  if (has_sets) cells.push(makeSet(one));
  return make("tr", {}, cells);
}

function makeSet(one) {
  if (one.certainty === null) return make("td", {}, "Not stated");
  const is_open = one.certainty === "not certain" || one.certainty === "neither";
  return make("td", {}, make("span", { class: is_open ? "open" : one.certainty === "yes" ? "yes" : null }, SETS[one.certainty]));
}

function makeBar(probability, threshold) {
  const value = make("span", { class: "value" });
  value.style.width = `${100 * probability}%`;
  const mark = make("span", { class: "mark" });
  mark.style.left = `${100 * Math.min(1, threshold)}%`;
  return make("div", { class: "bar", "aria-hidden": "true" }, value, mark);
}
