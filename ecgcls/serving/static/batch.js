// Many records: a table that fills as answers come, with progress, cancel, and a download as CSV.

import { predictBatch, Refused } from "./api.js";
import { capitalize, count, find, formatNumber, formatPercent, make, showError } from "./dom.js";
import { rank } from "./result.js";

const N_AT_ONCE = 50; // records of one request, where the server takes more: what is lost if it fails
const N_NAMED = 6; // of classes that are answered with no, or not at all, more are counted
let run = null; // {lines, n, byName, aborter}

/** Call `open(record)` when the reader chooses one of the list. */
export function startBatch(open) {
  find("cancel").addEventListener("click", () => run?.aborter.abort());
  find("download").addEventListener("click", download);
  find("batch-table").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const row of find("batch-table").tBodies[0].rows) row.classList.toggle("shown", row.contains(button));
    open(run.byName.get(button.dataset.record));
  });
}

export function stopBatch() {
  run?.aborter.abort();
}

/** Predict records {name, files} one after the other, in requests of what the server takes. */
export async function predictAll(records, { error_rate, limits, tell }) {
  stopBatch();
  const own = { lines: [], n: records.length, byName: new Map(records.map((one) => [nameSent(one), one])), aborter: new AbortController() };
  run = own;
  prepareTable(own);
  try {
    for (const some of share(records, limits)) {
      let n_answered = 0;
      for await (const line of predictBatch(some, error_rate, own.aborter.signal)) {
        n_answered += 1;
        own.n += n_answered === 1 ? line.n_records - some.length : 0; // a ZIP file holds several
        if (run !== own) return;
        addLine(own, line);
      }
    }
    finish(own, `Done: ${describeLines(own)}.`, tell);
  } catch (error) {
    if (run !== own) return;
    if (error.name !== "AbortError" && !(error instanceof Refused)) throw error;
    if (error instanceof Refused) showError(find("batch-error"), error.message);
    finish(own, `${error instanceof Refused ? "Stopped" : "Canceled"} after ${own.lines.length} of ${count(own.n, "record")}.`, tell);
  }
}

/** Name a record as the server does: a WFDB record without an extension, and any other file as it was sent. */
function nameSent({ name, files }) {
  return files.some(({ path }) => path === `${name}.hea`) ? name : files[0].path;
}

/** Share out records so that no request is larger than the server takes. */
function share(records, limits) {
  const parts = [[]];
  let n_bytes = 0;
  let n_files = 0;
  for (const record of records) {
    const size = record.files.reduce((sum, { file }) => sum + file.size, 0);
    const is_full = parts.at(-1).length >= N_AT_ONCE || n_files + record.files.length > limits.max_files || n_bytes + size > 0.9e6 * limits.max_upload_mb;
    if (is_full && parts.at(-1).length) {
      parts.push([]);
      [n_bytes, n_files] = [0, 0];
    }
    parts.at(-1).push(record);
    n_bytes += size;
    n_files += record.files.length;
  }
  return parts;
}

function prepareTable(own) {
  find("batch").hidden = false;
  find("batch-heading").textContent = count(own.n, "record");
  find("batch-table").tBodies[0].replaceChildren();
  showError(find("batch-error"));
  find("cancel").disabled = false;
  find("download").disabled = true;
  showProgress(own);
  find("batch-heading").focus();
}

function showProgress(own) {
  find("progress").max = own.n;
  find("progress").value = own.lines.length;
  find("progress-text").textContent = `${own.lines.length} of ${own.n}`;
}

function addLine(own, line) {
  own.lines.push(line);
  find("batch-table").tBodies[0].append(makeRow(own, line));
  showProgress(own);
}

function makeRow(own, line) {
  const sent = own.byName.get(line.record);
  const can_open = sent && !line.error;
  const shown = sent?.name ?? line.record;
  const pieces = shown.split(/(?<=[/_.-])/).flatMap((piece) => [make("wbr"), piece]); // where a long name may be broken
  const name = can_open ? make("button", { type: "button", class: "link", "data-record": line.record }, pieces) : pieces;
  if (line.error) {
    return make("tr", { class: "failed" }, make("th", { scope: "row" }, name), make("td", { colspan: 3 }, line.error));
  }
  const classes = rank(line.answer.classes);
  const predicted = classes.filter((one) => one.is_predicted).map((one) => one.name);
  const is_doubtful = line.answer.unusable.length > 0;
  const most = classes.reduce((best, one) => (one.probability > best.probability ? one : best));
  const sets = describeSets(line.answer);
  return make("tr", { class: is_doubtful && "doubtful" }, make("th", { scope: "row" }, name),
    make("td", {}, is_doubtful && make("strong", {}, "Doubtful ECG: "), predicted.join(", ") || "None", sets && make("span", { class: "soft under" }, sets)),
    make("td", {}, `${most.name} `, make("span", { class: "number" }, formatNumber(most.probability))),
    make("td", {}, describeNotes(line.answer)));
}

function describeSets({ classes, error_rate }) {
  if (error_rate === null) return "";
  const said = ["yes", "not certain", "neither", "no", null].map((set) => {
    const names = classes.filter(({ certainty }) => certainty === set).map(({ name }) => name);
    const is_long = names.length > N_NAMED && (set === "no" || set === null);
    return names.length ? `${set ?? "not stated"}: ${is_long ? `${names.length} classes` : names.join(", ")}` : "";
  });
  return `At ${formatPercent(error_rate)} error: ${said.filter(Boolean).join("; ")}`;
}

function describeNotes(answer) {
  const n_doubts = answer.doubts.length + (answer.known ? 1 : 0);
  const n_repairs = answer.repairs.length;
  const counts = [n_doubts && count(n_doubts, "doubt"), n_repairs && count(n_repairs, "repair")].filter(Boolean).join(", ");
  if (!answer.unusable.length) return counts;
  return [make("strong", {}, capitalize(answer.unusable.join("; "))), counts && make("span", { class: "under" }, `also ${counts}`)];
}

function describeLines(own) {
  const n_failed = own.lines.filter(({ error }) => error).length;
  return `${count(own.lines.length, "record")}${n_failed ? `, ${n_failed} could not be used` : ""}`;
}

function finish(own, text, tell) {
  find("cancel").disabled = true;
  find("download").disabled = !own.lines.length;
  find("progress-text").textContent = text;
  tell(text);
}

function download() {
  const address = URL.createObjectURL(new Blob([toCsv(run.lines)], { type: "text/csv" }));
  const link = make("a", { href: address, download: "predictions.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Return lines of the batch as CSV: probabilities, decisions and, if there are, sets by class. */
function toCsv(lines) {
  const classes = lines.find(({ answer }) => answer)?.answer.classes.map(({ name }) => name) ?? [];
  const has_sets = lines.some(({ answer }) => answer && answer.error_rate !== null);
  const columns = [["y_prob", "probability"], ["y_pred", "is_predicted"], ...(has_sets ? [["y_set", "certainty"]] : [])];
  const titles = columns.flatMap(([title]) => classes.map((name) => `${title}_${name}`));
  const rows = lines.map(({ record, answer, error }) => {
    const byName = new Map((answer?.classes ?? []).map((one) => [one.name, one]));
    const values = columns.flatMap(([, key]) => classes.map((name) => byName.get(name)?.[key] ?? ""));
    const notes = answer ? [answer.repairs, answer.doubts, answer.unusable].map((texts) => texts.join("; ")) : ["", "", ""];
    return [run.byName.get(record)?.name ?? record, ...values.map((value) => (typeof value === "boolean" ? Number(value) : value)), ...notes, error ?? ""];
  });
  const head = ["record", ...titles, "repairs", "doubts", "unusable", "error"];
  return [head, ...rows].map((row) => row.map(quote).join(",")).join("\r\n") + "\r\n";
}

/** Quote a cell; text that a spreadsheet would take for a formula gets an apostrophe in front. */
function quote(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
