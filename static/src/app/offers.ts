import type { Envoy } from "../api";
import { openPath } from "./envoy";

/** Offer is one way to work on an envoy. */
export type Offer = { kind: string; word: string; title: string; path: string };

/** offers are those that the relay has and the machine says it can do. */
export function offers(e: Envoy, kinds: readonly string[]): Offer[] {
  const { rdp, vnc, console: who } = e.facts;
  const all: Offer[] = [];
  if (kinds.includes("ssh")) all.push({ kind: "ssh", word: "Shell", title: "Open a shell", path: openPath(e) });
  if (kinds.includes("rdp") && rdp) all.push({ kind: "rdp", word: "RDP", title: "Remote desktop (RDP)", path: openPath(e, "rdp") });
  if (kinds.includes("vnc") && vnc) all.push({ kind: "vnc", word: "VNC", title: "Screen (VNC)", path: openPath(e, "vnc") });
  if (kinds.includes("vnc") && who) all.push({ kind: "console", word: "Screen", title: `${who}'s screen`, path: `${openPath(e, "vnc")}&console=1` });
  return all;
}

/** brief are the offers that a row of the fleet has room for: the details have all. */
export function brief(e: Envoy, kinds: readonly string[]): Offer[] {
  const all = offers(e, kinds);
  return all.filter((o) => o.kind !== "vnc" || !all.some((other) => other.kind === "rdp"));
}
