import { Problem, type Session } from "../api";
import { clock } from "../ui/format";
import { live } from "./live";

/** sessionWord is the state of a session as people say it. */
export function sessionWord(s: Session): string {
  if (s.state === "waiting") return "Opening";
  if (s.state === "closing") return "Closing";
  if (s.state === "closed") return "Closed";
  return s.attached ? "Attached" : "Detached";
}

export function sessionDot(s: Session): string {
  if (s.state === "waiting" || s.state === "closing") return "warn";
  if (s.state === "closed") return "off";
  return s.attached ? "ok" : "warn";
}

/** viewPath is where a session is shown: one's own to work in, another's to look at. */
export function viewPath(s: Session, watch = false): string {
  return `/scrier/${s.envoy_id}?protocol=${encodeURIComponent(s.kind)}${holds(s) ? "&view=files" : ""}&session=${s.id}${watch ? "&watch=1" : ""}`;
}

export function mayAttach(s: Session): boolean {
  return s.own && s.state === "active" && live.may("open sessions");
}

/** holds says that there is no terminal in a session: it is open for files, or for a CLI's forwards. */
export function holds(s: Session): boolean {
  return s.channel === "hold";
}

export function mayWatch(s: Session): boolean {
  return !s.own && !holds(s) && s.state === "active" && live.may("watch sessions") && (live.relay?.live_view ?? false);
}

export function mayEnd(s: Session): boolean {
  return !hasEnded(s) && ((s.own && live.may("end your own sessions")) || live.may("end sessions"));
}

/** hasEnded says that nobody can use it any more, recorded or not. */
export function hasEnded(s: Session): boolean {
  return s.state === "closed" || s.state === "closing";
}

/** why is the sentence of how a session ended; empty while it is open. */
export function why(s: Session): string {
  if (!hasEnded(s)) return "";
  if (s.reason === "exit" || s.reason === "ok" || s.reason === "") return s.kind === "ssh" ? "The shell ended." : "The desktop ended.";
  return Problem.of(s.reason).title;
}

/** told is what there is to say of a session in a line: how it ended, who watches, when it ends by itself. */
export function told(s: Session, now: number): string {
  if (s.watchers?.length) return `Watched by ${s.watchers.join(", ")}`;
  const left = remaining(s, now);
  return left === undefined ? why(s) : `Ends in ${clock(left)}`;
}

/** remaining is how long a session goes on without its owner, in ms; undefined: nobody counts. */
export function remaining(s: Session, now: number): number | undefined {
  return s.ends && !hasEnded(s) && !s.attached ? Math.max(0, Date.parse(s.ends) - now) : undefined;
}

export function kindWord(s: Session): string {
  return holds(s) ? "Connection" : s.kind === "ssh" ? "Shell" : s.kind.toUpperCase();
}

/** lasted is how long it was open, in ms. */
export function lasted(s: Session, now: number): number {
  const from = Date.parse(s.opened || s.created);
  const to = s.closed ? Date.parse(s.closed) : now;
  return Math.max(0, to - from);
}
