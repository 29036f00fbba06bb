import { fromDrop, type Found } from "./walk";

/** Target takes what is dropped. */
export interface Target {
  takes(): boolean;
  over(e: DragEvent | undefined): void; // files are dragged over it; undefined: no more
  drop(found: AsyncGenerator<Found>, e: DragEvent): void;
}

const linger = 200; // ms after the last move of a drag

/** drops watches for files and folders that are dragged over an element. */
export function drops(at: HTMLElement, to: Target): void {
  let later: ReturnType<typeof setTimeout> | undefined;
  const leave = () => {
    clearTimeout(later);
    to.over(undefined);
  };
  const files = (e: DragEvent): boolean => {
    if (!e.dataTransfer?.types.includes("Files")) return false;
    e.preventDefault();
    return true;
  };
  for (const type of ["dragenter", "dragover"] as const) {
    at.addEventListener(type, (e) => {
      if (!files(e)) return;
      e.dataTransfer!.dropEffect = to.takes() ? "copy" : "none";
      to.over(e);
      // A drag that leaves the window, or is given up, says nothing that could be relied on.
      clearTimeout(later);
      later = setTimeout(leave, linger);
    });
  }
  at.addEventListener("drop", (e) => {
    if (!files(e)) return;
    leave();
    if (e.dataTransfer && to.takes()) to.drop(fromDrop(e.dataTransfer), e);
  });
}
