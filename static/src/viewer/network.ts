// Network Information is not in every browser, and TypeScript does not know it yet.
const connection = (navigator as { connection?: EventTarget }).connection;

/**
 * onNetwork calls f when something happened that may have brought the network back. changed says that it may be another
 * network by now, in which what did not get through before may get through.
 */
export function onNetwork(f: (changed: boolean) => void): void {
  addEventListener("online", () => f(true));
  connection?.addEventListener("change", () => f(true));
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && f(false));
}
