// An ECG on clinical paper: SVG in mm, 25 mm/s and 10 mm/mV. The colors are those of paper.css.
//
// An ecg is a drawing of the server's: {leads: [{name, is_derived, mv}], sampling_rate_hz, start_s, duration_s};
// a sample of mv that is not known is null.

import { makeSvg } from "./dom.js";

const MM_PER_S = 25;
const MM_PER_MV = 10;
const LAYOUT = [["I", "aVR", "V1", "V4"], ["II", "aVL", "V2", "V5"], ["III", "aVF", "V3", "V6"]];
const RHYTHM = "II";
const PULSE_ZONE = 10; // mm: left of the traces
const LEAST = { standard: 13, rows: 9 }; // mm: space above and below a baseline
const MOST = 60; // mm: what lies farther from its baseline is cut off, and told
const NAMES = 24; // mm: the strip of names
const BAND = 4; // mm: how far an attribution extends above and below the baseline
export const SHOWN_S = 10; // s: of a longer record a part is shown at a time
const SHORT_S = 5; // s: quarters of less would hardly show a beat

/** Whether the 3 x 4 layout shows this ECG well: all twelve leads, and long enough for quarters. */
export function fitsStandard(ecg) {
  return LAYOUT.flat().every((name) => findLead(ecg.leads, name)) && ecg.duration_s >= SHORT_S;
}

/** Draw seconds of an ECG, with an attribution behind the traces where there is one.
 *
 * layout is "standard" (3 x 4 leads and a rhythm strip) or "rows" (a lead per row); start_s is a time of the recording.
 * The attribution is {leads: [{name, parts: [{from_s, to_s, value}]}], top}. Return {paper, names, notes, from_s, stop_s,
 * width, height}: the paper, the names of rows as a strip of its own that can stay in sight, and what is to be told.
 */
export function drawPaper(ecg, { layout, start_s, title, attribution = null }) {
  const rate = ecg.sampling_rate_hz;
  const first = Math.max(0, Math.round((start_s - ecg.start_s) * rate));
  const stop = Math.min(first + Math.round(SHOWN_S * rate), ecg.leads[0].mv.length);
  const [from_s, stop_s] = [ecg.start_s + first / rate, ecg.start_s + stop / rate];
  const rows = listRows(ecg, layout).map((names) => layOut(ecg, names, first, stop, LEAST[layout]));
  const width = PULSE_ZONE + 5 * Math.ceil((stop - first) / rate * MM_PER_S / 5 - 1e-9);
  const height = rows.reduce((sum, row) => sum + row.above + row.below, 0);
  const paper = makeSvg("svg", {
    class: "ecg-paper", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "ecg-title ecg-desc",
  });
  paper.append(makeSvg("title", { id: "ecg-title" }, title));
  paper.append(makeSvg("desc", { id: "ecg-desc" }, describe(ecg, layout, from_s, stop_s)));
  const names = makeSvg("svg", { class: "ecg-names", viewBox: `0 0 ${NAMES} ${height}`, "aria-hidden": "true" });
  if (attribution) rows.forEach((row, k) => drawBand(paper, row, baseOf(rows, k), attribution, from_s, rate));
  drawGrid(paper, width, height);
  rows.forEach((row, k) => drawRow(paper, layout === "rows" ? names : paper, row, baseOf(rows, k), rate));
  paper.style.width = `calc(${width} * var(--mm))`;
  paper.style.height = names.style.height = `calc(${height} * var(--mm))`;
  names.style.width = `calc(${NAMES} * var(--mm))`;
  const cut = rows.flatMap((row) => row.pieces).filter((piece) => piece.is_cut).map((piece) => piece.name);
  const notes = cut.length ? [`Cut off at ${MOST / MM_PER_MV} mV from the baseline: ${[...new Set(cut)].join(", ")}.`] : [];
  return { paper, names, notes, from_s, stop_s, width, height };
}

function baseOf(rows, number) {
  return rows.slice(0, number).reduce((sum, row) => sum + row.above + row.below, 0) + rows[number].above;
}

function findLead(leads, name) {
  return leads.find((lead) => lead.name.toLowerCase() === name.toLowerCase());
}

function listRows(ecg, layout) {
  return layout === "standard" ? [...LAYOUT, [RHYTHM]] : ecg.leads.map(({ name }) => [name]);
}

/** Place the leads of a row side by side, each with a share of the time, and find out how much space they need. */
function layOut(ecg, names, first, stop, least) {
  const pieces = names.map((name, k) => {
    const [from, to] = [k, k + 1].map((part) => Math.round(((stop - first) * part) / names.length));
    const lead = findLead(ecg.leads, name);
    const middle = median(lead.mv);
    const whole = lead.mv.slice(first + from, first + to).map((value) => (value === null ? NaN : MM_PER_MV * (value - middle)));
    const trace = whole.map((value) => Math.max(-MOST, Math.min(MOST, value)));
    const label = placeLabel(trace.slice(0, Math.ceil(((2 + 2.2 * name.length) / MM_PER_S) * ecg.sampling_rate_hz)), least);
    const is_cut = whole.some((value) => Math.abs(value) > MOST);
    return { name: lead.name, is_derived: lead.is_derived, trace, from, label, is_cut };
  });
  const highest = pieces.map(({ trace, label }) => Math.max(measure(trace)[1], label + 3));
  const lowest = pieces.map(({ trace, label }) => Math.min(measure(trace)[0], label));
  return {
    pieces,
    above: 5 * Math.ceil((Math.max(...highest, least) + 1) / 5), // mm; the baseline lies on the grid
    below: 5 * Math.ceil((1 - Math.min(...lowest, -least)) / 5),
  };
}

/** Return the lowest and the highest value, 0 included. */
function measure(trace) {
  const known = trace.filter((value) => !Number.isNaN(value));
  return known.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [0, 0]);
}

function median(values) {
  const sorted = Float64Array.from(values.filter((value) => value !== null)).sort();
  return sorted.length ? (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2 : 0;
}

/** Return where the name of a lead stands above its trace: mm from the baseline to the foot of the name. */
function placeLabel(begin, least) {
  return Math.max(least - 5, measure(begin)[1] + 1);
}

function describe(ecg, layout, from_s, stop_s) {
  const [from, to] = [from_s, stop_s].map((value) => Number(value.toFixed(2)));
  const rows = layout === "standard"
    ? "Three rows of four leads, a quarter of the time each, and lead II in full below them."
    : `One row for each lead: ${ecg.leads.map(({ name }) => name).join(", ")}.`;
  return `${ecg.leads.length} leads from second ${from} to ${to}, 25 mm/s and 10 mm/mV. ${rows}`;
}

function drawGrid(paper, width, height) {
  for (const [step, name] of [[1, "fine"], [5, "heavy"]]) {
    let path = "";
    for (let x = 0; x <= width; x += step) if (step === 5 || x % 5) path += `M${x} 0V${height}`;
    for (let y = 0; y <= height; y += step) if (step === 5 || y % 5) path += `M0 ${y}H${width}`;
    paper.append(makeSvg("path", { class: `grid ${name}`, d: path }));
  }
}

/** Draw the calibration pulse, the traces, their names and the marks between them. */
function drawRow(paper, names, row, base, rate) {
  paper.append(makeSvg("path", { class: "trace pulse", d: `M1 ${base}h1v${-MM_PER_MV}h5v${MM_PER_MV}h1` }));
  paper.append(makeSvg("text", { class: "unit", x: 4.5, y: base + 3.6, "text-anchor": "middle" }, "1 mV"));
  const x = (sample) => PULSE_ZONE + (MM_PER_S * sample) / rate;
  for (const piece of row.pieces) {
    const left = x(piece.from);
    if (piece.from) paper.append(makeSvg("path", { class: "trace", d: `M${left} ${base - 5}v2M${left} ${base + 3}v2` }));
    paper.append(makeSvg("path", { class: "trace", d: toPath(piece, x, base), "data-lead": piece.name }));
    const name = piece.name + (piece.is_derived ? "*" : "");
    names.append(makeSvg("text", { class: "lead", x: left + 1, y: base - piece.label }, name));
  }
}

/** Return a trace as a path; a sample that is not known leaves a gap. */
function toPath({ trace, from }, x, base) {
  const to = (k) => `${k && !Number.isNaN(trace[k - 1]) ? "L" : "M"}${x(from + k).toFixed(2)} ${(base - trace[k]).toFixed(2)}`;
  return trace.map((value, k) => (Number.isNaN(value) ? "" : to(k))).join("");
}

/** Draw an attribution around a row's baseline: the more it counts, the less transparent. */
function drawBand(paper, row, base, attribution, first_s, rate) {
  for (const piece of row.pieces) {
    const begin_s = first_s + piece.from / rate;
    const end_s = begin_s + piece.trace.length / rate;
    for (const { from_s, to_s, value } of findLead(attribution.leads, piece.name)?.parts ?? []) {
      const [left, right] = [Math.max(from_s, begin_s), Math.min(to_s, end_s)];
      const opacity = Math.min(1, Math.abs(value) / attribution.top);
      if (!(right > left) || !(opacity > 0.02)) continue;
      paper.append(makeSvg("rect", {
        class: value > 0 ? "band for" : "band against", "fill-opacity": opacity.toFixed(2),
        x: PULSE_ZONE + MM_PER_S * (left - first_s), width: MM_PER_S * (right - left), y: base - BAND, height: 2 * BAND,
      }));
    }
  }
}
