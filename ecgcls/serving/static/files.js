// Which of the files that somebody drops or chooses belong together: those of a WFDB record, by its header.

const MAX_HEADER_BYTES = 1e6;
const LEFT_OUT = [/^\./, /^Thumbs\.db$/i, /^desktop\.ini$/i]; // what systems put into folders

/** Return records {name, files}, sorted by name; each file is {path, file}. */
export async function groupRecords(files) {
  const kept = files.filter(({ file }) => !LEFT_OUT.some((pattern) => pattern.test(file.name)));
  const byPath = new Map(kept.map((one) => [one.path, one]));
  const headers = kept.filter(({ path, file }) => path.endsWith(".hea") && file.size <= MAX_HEADER_BYTES);
  const named = new Map(); // path of a header: the files it names that are here
  for (const header of headers) {
    const names = listNamed(await header.file.text());
    const beside = names.map((name) => byPath.get(folderOf(header.path) + name)).filter(Boolean);
    named.set(header.path, beside.filter((one) => one !== header));
  }
  const segments = new Set([...named.values()].flat().filter(({ path }) => named.has(path)));
  const taken = new Set();
  const records = [];
  for (const header of headers) {
    if (segments.has(header)) continue; // a part of another record
    const all = collect(header, named);
    all.forEach((one) => taken.add(one));
    records.push({ name: header.path.slice(0, -".hea".length), files: [...all] });
  }
  for (const one of kept) if (!taken.has(one)) records.push({ name: one.path, files: [{ ...one, path: plain(one.path) }] });
  return records.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
}

/** Return a path in characters that a file's name can have everywhere, as the server asks for. */
function plain(path) {
  return path.replaceAll(/[\\:*?"<>|\p{C}]/gu, "_");
}

/** Return a header and all that it names, and what these name. */
function collect(header, named, found = new Set()) {
  if (found.has(header)) return found;
  found.add(header);
  for (const one of named.get(header.path) ?? []) collect(one, named, found);
  return found;
}

/** Return the names that may stand in a WFDB header: of signal files, or of a record's segments. */
function listNamed(text) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() && !line.startsWith("#"));
  const first = lines.slice(1).map((line) => line.trim().split(/\s+/)[0]);
  return [...new Set(first.flatMap((name) => [name, `${name}.hea`]))];
}

function folderOf(path) {
  return path.slice(0, path.lastIndexOf("/") + 1);
}

/** Return the files that an input holds, with their paths inside a chosen folder. */
export function listChosen(input) {
  return Array.from(input.files, (file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Return the files that were dropped, those of folders included. */
export async function listDropped(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return Array.from(transfer.files, (file) => ({ path: file.name, file }));
  return (await Promise.all(entries.map((entry) => walk(entry, "")))).flat();
}

async function walk(entry, folder) {
  const path = folder + entry.name;
  if (entry.isFile) return [{ path, file: await new Promise((done, fail) => entry.file(done, fail)) }];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail)); // at most 100 at a time
    if (!some.length) return found;
    found.push(...(await Promise.all(some.map((one) => walk(one, `${path}/`)))).flat());
  }
}
