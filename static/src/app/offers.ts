import type { Envoy } from "../api";
import { openPath } from "./envoy";

/** Offer is one way to work on an envoy. */
export type Offer = { kind: string; word: string; title: string; path: string };

/** offers are those that the relay has and the machine says it can do, the usual one first. */
export function offers(e: Envoy, kinds: readonly string[]): Offer[] {
  const { rdp, vnc, console: who, ssh } = e.facts;
  const all: Offer[] = [];
  if (kinds.includes("ssh")) all.push({ kind: "ssh", word: "Shell", title: "Open a shell", path: openPath(e) });
  if (kinds.includes("ssh")) all.push({ kind: "files", word: "Files", title: "Browse files", path: `${openPath(e)}&view=files` });
  if (kinds.includes("rdp") && rdp) all.push({ kind: "rdp", word: "RDP", title: "Remote desktop (RDP)", path: openPath(e, "rdp") });
  if (kinds.includes("vnc") && vnc) all.push({ kind: "vnc", word: "VNC", title: "Screen (VNC)", path: openPath(e, "vnc") });
  if (kinds.includes("vnc") && who) all.push({ kind: "console", word: "Screen", title: `${who}'s screen`, path: `${openPath(e, "vnc")}&console=1` });
  // Where no SSH server answers, a shell is not what people come for, nor are files.
  if (!ssh && all[0]?.kind === "ssh" && all.length > 2) all.push(...all.splice(0, 2));
  return all;
}
