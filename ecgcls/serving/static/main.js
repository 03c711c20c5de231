// What happens when: the bundle is read, files are dropped, an answer comes, another class or part is chosen.

import { readBundle, predict, Refused } from "./api.js";
import { readPatient, readRate, showBundle } from "./about.js";
import { predictAll, startBatch, stopBatch } from "./batch.js";
import { count, find, formatBytes, make, showError } from "./dom.js";
import { groupRecords, listChosen, listDropped } from "./files.js";
import { showBand, showEcg, showPart, showTime, startPaper } from "./paper_view.js";
import { showResult } from "./result.js";

let bundle = null;
let current = null; // {record, answer, asked}
let aborter = new AbortController();

/** Run something that may be refused; the reason is shown in `place`, and an answer that comes too late is dropped. */
async function attempt(place, action) {
  showError(place);
  try {
    await action();
  } catch (error) {
    if (error.name === "AbortError") return;
    tell("");
    find("explain-status").textContent = "";
    if (!(error instanceof Refused || error instanceof RangeError)) console.error(error);
    showError(place, error.message);
  }
}

function tell(text) {
  find("status").textContent = text;
}

/** End what is still being asked, and return the signal of what comes next. */
function begin() {
  aborter.abort();
  aborter = new AbortController();
  return aborter.signal;
}

async function take(files) {
  begin();
  stopBatch();
  for (const place of ["result", "batch"]) find(place).hidden = true; // what stands there is another's, whatever comes
  const records = await groupRecords(files);
  if (!records.length) throw new Refused("There is no file in what was chosen.");
  const limit = bundle.limits.max_upload_mb;
  for (const { name, files: own } of records) {
    const size = own.reduce((sum, { file }) => sum + file.size, 0);
    if (size > 1e6 * limit) throw new Refused(`${name}: ${formatBytes(size)}, at most ${limit} MB are taken.`);
  }
  const is_one = records.length === 1 && !/\.zip$/i.test(records[0].name);
  if (is_one) {
    await show(records[0], false);
    return;
  }
  tell(`${count(records.length, "record")} sent.`);
  await predictAll(records, { error_rate: readRate(), limits: bundle.limits, tell });
}

async function show(record, from_list) {
  const signal = begin();
  const asked = { metadata: readPatient(), error_rate: readRate() };
  find("result").hidden = true; // what stands there is another's
  tell(`Reading ${record.name}\u2026`);
  const answer = await predict(record, asked, signal).catch((error) => name(record, error));
  current = { record, answer, asked };
  find("result").hidden = false;
  find("back").hidden = !from_list;
  for (const place of ["result-error", "explain-error"]) showError(find(place));
  showResult(record.name, answer, bundle);
  const can_draw = Boolean(answer.signal?.leads.length);
  find("ecg").hidden = !can_draw;
  if (can_draw) {
    offerClasses(answer);
    showEcg(record.name, answer);
    showBand(null);
  }
  tell(`${record.name} is done: see the result below.`);
  find("result-heading").focus();
}

/** Put a record's name before an error that does not tell it. */
function name(record, error) {
  const is_named = error.name === "AbortError" || error.message.startsWith(record.name);
  throw is_named ? error : new Refused(`${record.name}: ${error.message}`);
}

function offerClasses(answer) {
  const options = answer.classes.map(({ name }) => make("option", { value: name }, name));
  find("explain").replaceChildren(make("option", { value: "" }, "nothing"), ...options);
  find("explain-status").textContent = "";
}

async function explain(class_name) {
  if (!class_name) {
    begin();
    find("explain-status").textContent = "";
    showBand(null);
    return;
  }
  find("explain-status").textContent = `Finding what ${class_name} depends on\u2026`;
  const answer = await predict(current.record, { ...current.asked, attribution: class_name, draw: false }, begin());
  find("explain-status").textContent = `The parts of the ECG that ${class_name} depends on are highlighted.`;
  showBand(answer.attribution[0]);
}

/** Ask for another part of a long recording. */
async function movePart(start_s) {
  const { recording } = current.answer;
  const from_s = Math.max(0, Math.min(start_s - 2, recording.duration_s - 10));
  const answer = await predict(current.record, { ...current.asked, draw_from_s: from_s }, begin());
  showPart({ ...current.answer, signal: answer.signal }, start_s);
}

/** Predict again with what the form now says. */
async function askAgain() {
  if (!current || find("result").hidden) return;
  const asked = { metadata: readPatient(), error_rate: readRate() };
  const answer = await predict(current.record, { ...asked, draw: false }, begin());
  current = { ...current, asked, answer: { ...answer, signal: current.answer.signal } };
  showResult(current.record.name, current.answer, bundle);
  if (find("explain").value) await explain(find("explain").value);
  tell(`${current.record.name} was predicted again.`);
}

function listen() {
  const place = find("send-error");
  const drop = find("drop");
  for (const input of [find("files"), find("folder")]) {
    input.addEventListener("change", () => {
      const files = listChosen(input);
      input.value = ""; // so that the same file can be chosen again
      if (files.length) attempt(place, () => take(files));
    });
  }
  let depth = 0; // of elements that a dragged file has entered
  const mark = (change) => { depth = change ? depth + change : 0; drop.classList.toggle("over", depth > 0); };
  window.addEventListener("dragenter", () => mark(1));
  window.addEventListener("dragleave", () => mark(-1));
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault(); // anywhere on the page: the browser would open the file instead
    mark(0);
    attempt(place, async () => take(await listDropped(event.dataTransfer)));
  });
  find("send").addEventListener("submit", (event) => event.preventDefault());
  find("send").addEventListener("change", (event) => {
    if (event.target.type !== "file") attempt(place, askAgain);
  });
  find("explain").addEventListener("change", (event) => attempt(find("explain-error"), () => explain(event.target.value)));
  find("windows-table").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    showTime(Number(button.dataset.start));
    find("paper").focus();
  });
  startPaper((start_s) => attempt(find("explain-error"), () => movePart(start_s)));
  startBatch((record) => attempt(find("batch-error"), () => show(record, true)));
}

attempt(find("bundle-error"), async () => {
  bundle = await readBundle();
  showBundle(bundle);
  listen();
});
