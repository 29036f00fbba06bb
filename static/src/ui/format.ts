const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** ago says how long ago a moment was, as short as it can be told: "12 s ago". */
export function ago(moment: string | undefined, now: number): string {
  const t = moment ? Date.parse(moment) : NaN;
  if (!(t > 0)) return "never"; // Go's zero time is far below 1970
  const d = now - t;
  return d < 5 * second ? "just now" : `${span(d)} ago`;
}

/** span is a length of time in its largest unit: "3 min". */
export function span(ms: number): string {
  const d = Math.max(0, ms);
  if (d < minute) return `${Math.floor(d / second)} s`;
  if (d < hour) return `${Math.floor(d / minute)} min`;
  if (d < 2 * day) return `${Math.floor(d / hour)} h`;
  return `${Math.floor(d / day)} days`;
}

/** clock is a length of time that somebody watches: "1:02:09". */
export function clock(ms: number): string {
  const s = Math.max(0, Math.floor(ms / second));
  const two = (n: number) => String(n).padStart(2, "0");
  const h = Math.floor(s / 3600);
  return `${h ? `${h}:` : ""}${h ? two(Math.floor(s / 60) % 60) : Math.floor(s / 60)}:${two(s % 60)}`;
}

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let v = n;
  let u = -1;
  do {
    v /= 1024;
    u++;
  } while (v >= 1024 && u < units.length - 1);
  return `${v < 10 ? v.toFixed(1) : Math.round(v)} ${units[u]}`;
}

const dateTime = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function date(moment: string | undefined): string {
  const t = moment ? Date.parse(moment) : NaN;
  return t > 0 ? dateTime.format(t) : "never";
}

const zoned = new Intl.DateTimeFormat(undefined, { weekday: "short", year: "numeric", month: "long", day: "numeric", hour: "numeric", minute: "2-digit", second: "2-digit", timeZoneName: "long" });

/** exact is a moment with everything that belongs to it, for who points at a short one. */
export function exact(moment: string | undefined): string {
  const t = moment ? Date.parse(moment) : NaN;
  return t > 0 ? zoned.format(t) : "never";
}

/** count is a number of things: "1 record", "2,000 records". */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n.toLocaleString()} ${n === 1 ? one : many}`;
}

const thisYear = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "numeric", minute: "2-digit" });
const otherYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** when is a date as short as a table wants it; the time of day only where it still matters. */
export function when(moment: string | undefined): string {
  const t = moment ? Date.parse(moment) : NaN;
  if (!(t > 0)) return "never";
  return (new Date(t).getFullYear() === new Date().getFullYear() ? thisYear : otherYear).format(t);
}
