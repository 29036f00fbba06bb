import type { Envoy, EnvoyState } from "../api";
import { entry, orders, text, type Entry } from "./envoy";

/** Wish is what of the fleet is to be seen, and in which order. */
export type Wish = { q: string; state: EnvoyState | ""; labels: readonly string[]; sort: string; down: boolean };

/** Selection finds what is wished for; it keeps each envoy's entry until the envoy changes. */
export class Selection {
  private entries = new Map<string, Entry>();
  counts: Record<EnvoyState | "all", number> = { all: 0, online: 0, stale: 0, offline: 0, revoked: 0, quarantined: 0 };
  labels: string[] = []; // all that there are, the most frequent first
  common: ReadonlySet<string> = new Set(); // those that all have
  count = (label: string): number => this.seen.get(label) ?? 0;
  weight = (label: string): number => this.keys.get(keyOf(label)) ?? 0; // how many machines have a label of this key
  private seen = new Map<string, number>();
  private keys = new Map<string, number>();

  /** take reads the fleet again. */
  take(envoys: ReadonlyMap<string, Envoy>): void {
    const next = new Map<string, Entry>();
    const counts = { all: envoys.size, online: 0, stale: 0, offline: 0, revoked: 0, quarantined: 0 };
    const seen = new Map<string, number>();
    for (const [id, e] of envoys) {
      const old = this.entries.get(id);
      const now = old?.envoy === e ? old : entry(e);
      next.set(id, now);
      counts[e.state]++;
      for (const l of now.labels) seen.set(l, (seen.get(l) ?? 0) + 1);
    }
    this.entries = next;
    this.counts = counts;
    this.seen = seen;
    this.keys = new Map();
    for (const [l, n] of seen) this.keys.set(keyOf(l), (this.keys.get(keyOf(l)) ?? 0) + n);
    this.common = new Set(envoys.size > 1 ? [...seen].filter(([, n]) => n === envoys.size).map(([l]) => l) : []);
    this.labels = [...seen].sort((a, b) => b[1] - a[1] || text(a[0], b[0])).map(([l]) => l);
  }

  find(w: Wish): Envoy[] {
    const words = w.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found: Entry[] = [];
    for (const e of this.entries.values()) {
      if (w.state && e.envoy.state !== w.state) continue;
      if (!words.every((word) => e.text.includes(word))) continue;
      if (!w.labels.every((l) => e.labels.includes(l))) continue;
      found.push(e);
    }
    const by = orders[w.sort]?.compare ?? (() => 0);
    const sign = w.down ? -1 : 1;
    const name = w.sort === "hostname" ? sign : 1;
    found.sort((a, b) => sign * by(a, b) || name * text(a.name, b.name) || text(a.envoy.id, b.envoy.id));
    return found.map((e) => e.envoy);
  }
}

function keyOf(label: string): string {
  return label.split("=", 1)[0] ?? label;
}
