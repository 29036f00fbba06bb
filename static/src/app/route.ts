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
  const id = a.pathname === location.pathname ? new URLSearchParams(a.search).get(detail) : null;
  if (id) openDetails(id);
  else go(a.pathname + a.search);
}

const detail = "details"; // the query's name for what is shown beside the list

/** showQuery keeps a page's filters in the address, where a reload and "back" find them. */
export function showQuery(values: Record<string, string>): void {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v) q.set(k, v);
  const shown = detailsShown();
  if (shown) q.set(detail, shown);
  history.replaceState(history.state, "", address(q));
  dispatchEvent(new Event("scrier-query"));
}

/** pageShown is the address without what is shown beside the list: while it stays, the page stays. */
export function pageShown(): string {
  const q = new URLSearchParams(location.search);
  q.delete(detail);
  return address(q);
}

/** detailsShown is whose details the address asks for. */
export function detailsShown(): string {
  return new URLSearchParams(location.search).get(detail) ?? "";
}

/** detailsPath is the address of this page with somebody's details. */
export function detailsPath(id: string): string {
  const q = new URLSearchParams(location.search);
  q.set(detail, id);
  return address(q);
}

/** openDetails shows them; "back" leaves them. */
export function openDetails(id: string): void {
  if (detailsShown() === id) return;
  if (detailsShown()) history.replaceState(history.state, "", detailsPath(id));
  else history.pushState({ opened: true }, "", detailsPath(id));
  dispatchEvent(new Event("scrier-details"));
}

/** closeDetails is "back" where they were opened from the list. */
export function closeDetails(): void {
  if (!detailsShown()) return;
  if ((history.state as { opened?: boolean } | null)?.opened) return history.back();
  history.replaceState(null, "", pageShown());
  dispatchEvent(new Event("scrier-details"));
}

function address(q: URLSearchParams): string {
  const s = q.toString();
  return location.pathname + (s ? `?${s}` : "");
}
