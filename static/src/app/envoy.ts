import type { Envoy, EnvoyState } from "../api";
import { plain } from "../viewer/text";
import { sentence } from "../wire/hints";

/** dots are the marks of an envoy's states; the word stands beside them. */
export const dots: Record<EnvoyState, string> = { online: "ok", stale: "warn", offline: "off", revoked: "bad", quarantined: "bad" };

const words: Record<EnvoyState, string> = { online: "Online", stale: "Stale", offline: "Offline", revoked: "Revoked", quarantined: "Quarantined" };

export function stateWord(s: EnvoyState): string {
  return words[s] ?? s;
}

/** reachable says whether opening a session can work at all. */
export function reachable(e: Envoy): boolean {
  return e.state === "online" || e.state === "stale";
}

/** open is the address of a session on an envoy. */
export function openPath(e: Envoy, kind = "ssh"): string {
  return `/scrier/${e.id}?protocol=${encodeURIComponent(kind)}`;
}

/** plainName is what a relay takes for a machine's name; it is not asked for a signature for another. */
export const plainName = String.raw`\s*[A-Za-z0-9._\-]*\s*`;
/** Warning is one in a word, as a row has room for it. */
export type Warning = { word: string; text: string };

/** warnings are an envoy's, without what its state says anyway. */
export function warnings(e: Envoy): Warning[] {
  const out: Warning[] = [];
  for (const text of e.warnings ?? []) {
    if (/^last seen /.test(text)) continue;
    const word = /file system is/.test(text) ? `Disk\u00a0${e.facts.disk}\u00a0%`
      : /^its clock/.test(text) ? "Clock"
      : /SSH server/.test(text) ? "SSH"
      : /identity|certificate|generation/.test(text) ? "Identity"
      : plain(text, 24);
    out.push({ word, text: sentence(text) });
  }
  return out;
}

export function labels(e: Envoy): string[] {
  return Object.entries(e.labels ?? {}).map(([k, v]) => (v ? `${k}=${v}` : k)).sort();
}

/** Entry is an envoy with what searching and sorting need, made once for each change of it. */
export type Entry = { envoy: Envoy; text: string; labels: string[]; name: string; seen: number };

export function entry(e: Envoy): Entry {
  const all = labels(e);
  return {
    envoy: e,
    labels: all,
    name: e.hostname.toLowerCase(),
    seen: Date.parse(e.last_seen) || 0,
    text: [e.hostname, e.id, ...all, e.facts.os, e.facts.arch].join("\n").toLowerCase(),
  };
}

const stateOrder: Record<EnvoyState, number> = { quarantined: 0, online: 1, stale: 2, offline: 3, revoked: 4 };

/** orders are the ways to sort the fleet; equal ones follow their names. */
export const orders: Record<string, { title: string; compare: (a: Entry, b: Entry) => number }> = {
  state: { title: "Status", compare: (a, b) => stateOrder[a.envoy.state] - stateOrder[b.envoy.state] },
  hostname: { title: "Hostname", compare: () => 0 },
  os: { title: "System", compare: (a, b) => text(a.envoy.facts.os, b.envoy.facts.os) },
  version: { title: "Agent", compare: (a, b) => text(a.envoy.version, b.envoy.version) },
  users: { title: "Users", compare: (a, b) => (a.envoy.facts.users?.length ?? 0) - (b.envoy.facts.users?.length ?? 0) },
  load: { title: "Load", compare: (a, b) => a.envoy.facts.load - b.envoy.facts.load },
  disk: { title: "Disk", compare: (a, b) => a.envoy.facts.disk - b.envoy.facts.disk },
  warnings: { title: "Warnings", compare: (a, b) => warnings(b.envoy).length - warnings(a.envoy).length },
  seen: { title: "Last seen", compare: (a, b) => b.seen - a.seen },
};

export function text(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
