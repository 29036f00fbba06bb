/** Need is what one column wants: all widths are in pixels. */
export type Need = {
  whole: number; // with which nothing in it is cut
  least: number; // with less it is of no use
  rank: number; // who has the highest goes first when room is short; 0 stays
  first?: boolean; // is whole before others get more than their least
  grows?: boolean; // takes what nobody needs
};

/**
 * fit gives columns their widths; 0 means that one is left out. Nothing is cut while another column has more than it
 * needs.
 */
export function fit(needs: readonly Need[], room: number, gap: number): number[] {
  const least = needs.map((n) => Math.min(n.least, n.whole));
  const shown = needs.map((n) => n.whole > 0);
  const spent = () => least.reduce((sum, w, i) => sum + (shown[i] ? w + gap : 0), -gap);
  while (spent() > room) {
    let out = -1;
    needs.forEach((n, i) => shown[i] && n.rank > 0 && (out < 0 || n.rank > needs[out]!.rank) && (out = i));
    if (out < 0) break;
    shown[out] = false;
  }
  const width = least.map((w, i) => (shown[i] ? w : 0));
  let free = Math.max(0, room - spent());
  const share = (list: number[]) => {
    // Evenly, until the one that lacks least is whole; then among the others.
    for (let left = list.filter((i) => width[i]! < needs[i]!.whole); left.length && free > 0.5; left = left.filter((i) => needs[i]!.whole - width[i]! > 0.01)) {
      const each = Math.min(free / left.length, ...left.map((i) => needs[i]!.whole - width[i]!));
      for (const i of left) width[i]! += each;
      free -= each * left.length;
    }
  };
  const all = needs.map((_, i) => i).filter((i) => shown[i]);
  share(all.filter((i) => needs[i]!.first));
  share(all);
  if (free > 0) {
    const i = all.find((i) => needs[i]!.grows) ?? all.at(-1);
    if (i !== undefined) width[i]! += free;
  }
  return width;
}
