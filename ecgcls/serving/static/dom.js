// Elements of the page. Names of files and classes are untrusted: they only ever become text.

const SVG = "http://www.w3.org/2000/svg";

/** Make an HTML element; `properties` are set as attributes, those that are null or false left out. */
export function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Make an SVG element likewise. */
export function makeSvg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export function find(id) {
  return document.getElementById(id);
}

/** Show an error, or take it away, in the paragraph that stands where it belongs. */
export function showError(place, message = "") {
  place.textContent = message;
  place.hidden = !message;
}

/** Write a probability or a logit with two digits, and say what rounding would hide. */
export function formatNumber(value, n_digits = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not known";
  const least = 10 ** -n_digits;
  if (value > 0 && value < least) return `<${least}`;
  if (value < 1 && value > 1 - least) return `>${(1 - least).toFixed(n_digits)}`;
  return value.toFixed(n_digits);
}

/** Write two numbers with as many digits as tell them apart. */
export function formatPair(one, other) {
  const digits = [2, 3, 4, 5].find((n) => one === other || formatNumber(one, n) !== formatNumber(other, n)) ?? 6;
  return [one, other].map((value) => formatNumber(value, digits));
}

export function formatPercent(share) {
  return `${Number((100 * share).toFixed(2))}%`;
}

export function formatBytes(n_bytes) {
  return n_bytes < 1e6 ? `${Math.ceil(n_bytes / 1e3)} kB` : `${Number((n_bytes / 1e6).toPrecision(3))} MB`;
}

export function capitalize(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** "1 file", "2 files". */
export function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en-US")} ${n === 1 ? noun : plural}`;
}
