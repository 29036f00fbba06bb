/** Found is a file or folder on this computer, with its place below what was chosen. */
export interface Found {
  readonly names: readonly string[]; // from the top folder down to its own
  readonly file?: File; // none: a folder
  readonly why?: string; // it cannot be read
}

const deepest = 100; // folders: what is deeper is a loop

/** fromDrop is what was dropped. It must be called while the event is: later the list is empty. */
export function fromDrop(data: DataTransfer): AsyncGenerator<Found> {
  const entries: FileSystemEntry[] = [];
  const files: File[] = [];
  for (const item of data.items) {
    if (item.kind !== "file") continue;
    const entry = item.webkitGetAsEntry?.();
    const file = entry ? null : item.getAsFile();
    if (entry) entries.push(entry);
    else if (file) files.push(file);
  }
  return walk(entries, files);
}

/** fromInput is what was chosen in a dialog of the browser's. */
export async function* fromInput(files: Iterable<File>): AsyncGenerator<Found> {
  for (const file of files) {
    const names = (file.webkitRelativePath || "").split("/").filter((n) => n !== "");
    yield { names: names.length > 0 ? names : [file.name], file };
  }
}

async function* walk(entries: FileSystemEntry[], files: File[]): AsyncGenerator<Found> {
  yield* fromInput(files);
  for (const e of entries) yield* below(e, []);
}

// below goes through a tree, a folder before what is in it; what cannot be read is told, and the rest goes on.
async function* below(entry: FileSystemEntry, above: readonly string[]): AsyncGenerator<Found> {
  const names = [...above, entry.name];
  try {
    if (entry.isFile) {
      const file = await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed));
      yield { names, file };
      return;
    }
  } catch (err) {
    yield { names, why: reason(err) };
    return;
  }
  yield { names };
  if (names.length > deepest) {
    yield { names, why: `it is more than ${deepest} folders deep` };
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    let some: FileSystemEntry[];
    try {
      some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed)); // a hundred at most
    } catch (err) {
      yield { names, why: reason(err) };
      return;
    }
    if (some.length === 0) return;
    for (const e of some) yield* below(e, names);
  }
}

function reason(err: unknown): string {
  return `it cannot be read: ${err instanceof Error ? err.message : String(err)}`;
}
