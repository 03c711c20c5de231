// What the page asks the server; what it answers is in its openapi.json.

const N_TRIES = 6; // of a part of a batch, in case that others keep the server busy

/** What the server refuses, or why it cannot be reached, in one line for the reader. */
export class Refused extends Error {}

export async function readBundle() {
  return (await ask("api/bundle", {})).json();
}

/** Predict one record {name, files}. asked: {metadata, error_rate, attribution, draw, draw_from_s}, each left out or null. */
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
  const response = await ask("api/batch", { method: "POST", body: form, signal }, N_TRIES);
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

/** Ask, up to `n_tries` times where the server is busy. */
async function ask(address, options, n_tries = 1) {
  const response = await fetch(address, options).catch((error) =>
    translate(error, "The server does not answer: it may have been stopped, or a file changed or was moved since it was chosen."),
  );
  if (response.status === 503 && n_tries > 1) {
    await wait(Number(response.headers.get("Retry-After")) || 5, options.signal);
    return ask(address, options, n_tries - 1);
  }
  if (!response.ok) throw new Refused(await readError(response));
  return response;
}

function wait(duration_s, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, 1000 * duration_s);
    signal.addEventListener("abort", () => { clearTimeout(timer); fail(signal.reason); }, { once: true });
  });
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
