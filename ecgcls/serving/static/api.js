// What the page asks the server; what it answers is in its openapi.json.

/** What the server refuses, or why it cannot be reached, in one line for the reader. */
export class Refused extends Error {}

export async function readBundle() {
  return (await ask("api/bundle", {})).json();
}

/** Predict one record {name, files}. asked: {metadata, error_rate, attribution, draw_from_s}, each left out or null. */
export async function predict(record, asked, signal) {
  const form = toForm([record]);
  for (const [name, value] of Object.entries(asked)) {
    if (value === null || value === undefined) continue;
    form.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return (await ask("api/predict", { method: "POST", body: form, signal })).json();
}

/** Predict many records: yield one line {number, n_records, record, answer or error} for each, as it is done. */
export async function* predictBatch(records, error_rate, signal) {
  const form = toForm(records);
  if (error_rate !== null) form.append("error_rate", String(error_rate));
  const response = await ask("api/batch", { method: "POST", body: form, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let n_left = 1; // until a line says how many there are
  for (;;) {
    const { value, done } = await reader.read().catch((error) => translate(error, "The connection to the server was lost."));
    const lines = (rest + (value ?? "")).split("\n");
    rest = done ? "" : lines.pop();
    for (const text of lines.filter((one) => one.trim())) {
      const line = parse(text);
      n_left = line.n_records - line.number;
      yield line;
    }
    if (done && n_left) throw new Refused("The answer of the server ended too early.");
    if (done) return;
  }
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    throw new Refused("The answer of the server broke off.");
  }
}

function toForm(records) {
  const form = new FormData();
  for (const { files } of records) for (const { path, file } of files) form.append("file", file, path);
  return form;
}

async function ask(address, options) {
  const response = await fetch(address, options).catch((error) =>
    translate(error, "The server does not answer: it may have been stopped, or a file changed or was moved since it was chosen."),
  );
  if (!response.ok) throw new Refused(await readError(response));
  return response;
}

function translate(error, message) {
  throw error.name === "AbortError" ? error : new Refused(message);
}

async function readError(response) {
  const body = await response.json().catch(() => ({}));
  if (typeof body.error === "string" && body.error) return body.error;
  if (response.status === 413) return "The files are larger than this server takes.";
  if (response.status === 503) return "The server is busy. Try again in a moment.";
  return `The server answered with status ${response.status}, and does not say why.`;
}
