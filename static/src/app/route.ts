import type { Verb } from "../api";
import type { Icon } from "../ui/icon";

/** Route is one of the pages; its key follows `g`. */
export type Route = { path: string; title: string; icon: Icon; key: string; verb: Verb };

export const routes: readonly Route[] = [
  { path: "/", title: "Fleet", icon: "fleet", key: "f", verb: "see envoys" },
  { path: "/sessions", title: "Sessions", icon: "sessions", key: "s", verb: "see sessions" },
  { path: "/operators", title: "Operators", icon: "operators", key: "o", verb: "see operators" },
  { path: "/enrol", title: "Enrol", icon: "enrol", key: "e", verb: "make enrolment tokens" },
  { path: "/audit", title: "Audit", icon: "audit", key: "a", verb: "see the audit log" },
  { path: "/account", title: "My account", icon: "account", key: "m", verb: "see yourself" },
];

/** go shows another page without loading the document anew. */
export function go(path: string): void {
  history.pushState(null, "", path);
  dispatchEvent(new Event("scrier-route"));
}

/** followLinks makes links between pages do what go does; all others are the browser's. */
export function followLinks(e: MouseEvent): void {
  if (e.defaultPrevented || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
  const a = (e.target as Element).closest("a");
  if (!a || a.target || a.hasAttribute("download") || a.origin !== location.origin || a.hash) return;
  if (!routes.some((r) => r.path === a.pathname)) return;
  e.preventDefault();
  go(a.pathname + a.search);
}

/** showQuery keeps a page's filters in the address, where a reload and "back" find them. */
export function showQuery(values: Record<string, string>): void {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v) q.set(k, v);
  const s = q.toString();
  history.replaceState(history.state, "", location.pathname + (s ? `?${s}` : ""));
}
