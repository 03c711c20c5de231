// The drawn ECG with its controls: layout, size, the part of a long recording, and the attribution behind it.

import { drawPaper, fitsStandard, SHOWN_S } from "./paper.js";
import { layOutBand, makeLegend } from "./attribution.js";
import { capitalize, find } from "./dom.js";

const PX_PER_MM = 96 / 25.4;
const NARROW_PX = 640; // below it 3 x 4 leads are too small to be read
const SMALL = 2.2; // px per mm: below it the fine grid would blur
const SHEET = { width: 270, height: 145 }; // mm: what a sheet of print.css has room for, beside the texts
const paper = find("paper");
const controls = { layout: find("layout"), zoom: find("zoom"), time: find("time") };
let shown = null; // {name, answer, band, width, height}
let is_printing = false;
let needPart = () => {};

/** Call `need(start_s)` when a part is to be shown that has not been drawn. */
export function startPaper(need) {
  needPart = need;
  controls.layout.addEventListener("change", draw);
  controls.zoom.addEventListener("change", scale);
  controls.time.addEventListener("input", () => (isDrawn(readTime()) ? draw() : tellTime(readTime(), readTime() + SHOWN_S)));
  controls.time.addEventListener("change", () => isDrawn(readTime()) || needPart(readTime()));
  new ResizeObserver(scale).observe(paper);
  for (const event of ["beforeprint", "afterprint"]) {
    window.addEventListener(event, () => { is_printing = event === "beforeprint"; scale(); });
  }
}

/** Show a recording from its start, in the layout that fits the page. */
export function showEcg(name, answer) {
  const is_narrow = paper.clientWidth < NARROW_PX;
  const can_be_standard = fitsStandard(answer.signal);
  controls.layout.options[0].disabled = !can_be_standard;
  controls.layout.value = can_be_standard && !is_narrow ? "standard" : "rows";
  controls.zoom.value = is_narrow ? "0.75" : "fit";
  const last = Math.max(0, answer.recording.duration_s - SHOWN_S);
  controls.time.max = Math.ceil(last);
  controls.time.value = answer.signal.start_s;
  find("time-field").hidden = last < 0.5;
  shown = { name, answer, band: null };
  paper.scrollLeft = 0;
  draw();
}

/** Show another part of the same recording, as the server has drawn it, unless the reader has moved on. */
export function showPart(answer, start_s) {
  if (readTime() !== start_s) return;
  shown.answer = answer;
  draw();
}

/** Show what counts for a class (null: nothing), and the part of the recording that it is about. */
export function showBand(band) {
  shown.band = band && layOutBand(band, shown.answer.signal.leads.map(({ name }) => name));
  find("legend").hidden = !band;
  find("legend").replaceChildren(...(band ? makeLegend(shown.band) : []));
  const is_seen = !band || (band.start_s < readTime() + SHOWN_S && band.end_s > readTime());
  if (is_seen) draw();
  else showTime(Math.floor(band.start_s));
}

/** Move to a time of the recording. */
export function showTime(start_s) {
  controls.time.value = start_s;
  paper.scrollLeft = 0;
  if (isDrawn(readTime())) draw();
  else needPart(readTime());
}

function readTime() {
  return Math.min(Number(controls.time.value), Math.max(0, shown.answer.recording.duration_s - SHOWN_S));
}

function isDrawn(start_s) {
  const { signal, recording } = shown.answer;
  const stop_s = Math.min(start_s + SHOWN_S, recording.duration_s);
  return start_s >= signal.start_s - 0.01 && stop_s <= signal.start_s + signal.duration_s + 0.01;
}

function draw() {
  const { signal } = shown.answer;
  const start_s = isDrawn(readTime()) ? readTime() : signal.start_s;
  const drawn = drawPaper(signal, {
    layout: controls.layout.value, start_s, title: `ECG ${shown.name}`, attribution: shown.band?.is_empty ? null : shown.band,
  });
  Object.assign(shown, { width: drawn.width, height: drawn.height });
  paper.replaceChildren(drawn.paper, drawn.names);
  tellTime(drawn.from_s, drawn.stop_s);
  find("scale").textContent = describeScale(signal, drawn.notes);
  scale();
}

function tellTime(from_s, stop_s) {
  const text = `${Number(from_s.toFixed(1))} to ${Number(Math.min(stop_s, shown.answer.recording.duration_s).toFixed(1))} s`;
  find("time-shown").textContent = text;
  controls.time.setAttribute("aria-valuetext", text);
}

function describeScale(signal, notes) {
  const is_derived = signal.leads.some((lead) => lead.is_derived);
  return [
    "25 mm/s, 10 mm/mV (a small square is 0.04 s and 0.1 mV); calibration mark 1 mV, 0.2 s. Each lead\u2019s median lies on its baseline.",
    is_derived ? "* Computed from other limb leads." : "",
    signal.note && (signal.is_whole || signal.is_resampled) ? `${capitalize(signal.note)}.` : "", ...notes,
  ].filter(Boolean).join(" ");
}

/** Set how many pixels a mm has. */
function scale() {
  if (!shown) return;
  const { width, height } = shown;
  const fit = (paper.clientWidth - 1) / width;
  const asked = controls.zoom.value === "fit" ? fit : Number(controls.zoom.value) * PX_PER_MM;
  const mm = is_printing ? Math.min(1, SHEET.width / width, SHEET.height / height) * PX_PER_MM : asked;
  paper.style.setProperty("--mm", `${mm}px`);
  paper.classList.toggle("small", mm < SMALL);
}
