/** Target is where files may be dropped. */
export interface Target {
  takes(): boolean;
  drop(files: File[], folders: string[]): void;
}

const linger = 200; // ms after the last move of a drag

/**
 * drops watches for files that are dragged over the page. They are never left to the browser, which
 * would open them in the desktop's place.
 */
export function drops(page: EventTarget, shown: (over: boolean) => void, to: Target): void {
  let later: ReturnType<typeof setTimeout> | undefined;
  const over = (on: boolean) => {
    clearTimeout(later);
    shown(on);
    // A drag that leaves the window, or is given up, says nothing that could be relied on.
    if (on) later = setTimeout(() => shown(false), linger);
  };
  const files = (e: Event): DataTransfer | undefined => {
    const d = (e as DragEvent).dataTransfer;
    if (!d?.types.includes("Files")) return undefined;
    e.preventDefault();
    return d;
  };
  for (const type of ["dragenter", "dragover"]) {
    page.addEventListener(type, (e) => {
      const d = files(e);
      if (!d) return;
      d.dropEffect = to.takes() ? "copy" : "none";
      over(true);
    });
  }
  page.addEventListener("drop", (e) => {
    const d = files(e);
    if (!d) return;
    over(false);
    if (!to.takes()) return; // where the browser drops all the same
    const found: File[] = [];
    const folders: string[] = [];
    for (const item of d.items) {
      const file = item.kind === "file" ? item.getAsFile() : null;
      if (!file) continue;
      if (item.webkitGetAsEntry?.()?.isDirectory) folders.push(file.name);
      else found.push(file);
    }
    to.drop(found, folders);
  });
}
