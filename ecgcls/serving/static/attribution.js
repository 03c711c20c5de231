// What counts for a class: an answer's band as parts of leads to be drawn, its legend, and its strongest parts in words.

import { capitalize, make } from "./dom.js";

const N_STRONGEST = 3;

/** Return {leads: [{name, parts: [{from_s, to_s, value}]}], top, by_lead, band}; all leads alike if they were not taken apart. */
export function layOutBand(band, lead_names) {
  const cut = (values, step_s) => values.map((value, k) => {
    const from_s = band.start_s + k * step_s;
    return { from_s, to_s: Math.min(from_s + step_s, band.end_s), value };
  });
  const leads = band.leads
    ? band.leads.map(({ name, values }) => ({ name, parts: cut(values, band.lead_step_s) }))
    : lead_names.map((name) => ({ name, parts: cut(band.values, band.step_s) }));
  const top = Math.max(...leads.flatMap(({ parts }) => parts.map(({ value }) => Math.abs(value))), 0);
  return { leads, top: top || 1, is_empty: top === 0, by_lead: Boolean(band.leads), band };
}

/** Return the legend's elements. */
export function makeLegend({ leads, top, is_empty, by_lead, band }) {
  const name = band.class_name;
  if (is_empty) return [make("p", {}, `Nothing in this ECG changes the logit of ${name}.`)];
  const scale = make("span", { class: "key" },
    make("span", {}, `against ${name} \u2212${round(top)}`), make("span", { class: "ramp", "aria-hidden": "true" }), make("span", {}, `+${round(top)} for ${name}`));
  const strongest = (by_lead ? leads : [{ name: "", parts: leads[0].parts }])
    .flatMap((lead) => lead.parts.map((part) => ({ ...part, lead: lead.name })))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, N_STRONGEST).filter(({ value }) => value !== 0)
    .map(({ lead, from_s, to_s, value }) => `${lead ? `${lead}, ` : ""}${round(from_s)} to ${round(to_s)} s (${value > 0 ? "+" : "\u2212"}${round(Math.abs(value))})`);
  const what = by_lead ? "each lead alone" : "all leads together";
  const texts = [`Unit: ${band.unit}, ${what}. Strongest: ${strongest.join("; ")}.`, band.note && `${capitalize(band.note)}.`, band.caveat].filter(Boolean);
  return [scale, ...texts.map((text) => make("p", {}, text))];
}

function round(value) {
  return String(Number(value.toPrecision(3)));
}
