/** refuseDrops keeps a file that misses its place from taking the page away: a browser would open it instead. */
export function refuseDrops(): void {
  for (const name of ["dragover", "drop"] as const) {
    addEventListener(name, (e) => {
      if (e.defaultPrevented || !e.dataTransfer?.types.includes("Files")) return;
      e.preventDefault();
      e.dataTransfer.dropEffect = "none";
    });
  }
}
