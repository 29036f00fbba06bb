import type { Envoy, Session } from "./model";
import { Problem } from "./problem";
import { read } from "./read";
import { self } from "./relay";

export interface Listener {
  envoy?(e: Envoy): void;
  envoyGone?(id: string): void;
  session?(s: Session): void;
  /** live is false while the stream is broken; after it is true again, read the lists anew: what was said meanwhile is lost */
  live?(live: boolean): void;
  /** the relay does not know us any more; nothing follows */
  signedOut?(p: Problem): void;
}

/** events listens to the relay's live updates until the function that it returns is called. */
export function events(l: Listener): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  let over = false;

  const open = () => {
    timer = undefined;
    const s = new EventSource("/api/v1/events");
    source = s;
    s.addEventListener("open", () => {
      failures = 0;
      l.live?.(true);
    });
    on<Envoy>(s, "envoy", (e) => l.envoy?.(e));
    on<{ id: string }>(s, "envoy-gone", (e) => l.envoyGone?.(e.id));
    on<Session>(s, "session", (e) => l.session?.(e));
    // EventSource tells no status and never tries again after a refusal: so ask why, and try again ourselves.
    s.addEventListener("error", () => {
      s.close();
      if (source !== s || over) return;
      source = undefined;
      l.live?.(false);
      void again();
    });
  };
  const again = async () => {
    try {
      await self();
    } catch (err) {
      const p = Problem.from(err);
      if (over) return;
      if (p.signIn) {
        over = true;
        l.signedOut?.(p);
        return;
      }
    }
    if (over || source !== undefined || timer !== undefined) return;
    timer = setTimeout(open, Math.min(500 * 2 ** failures++, 10_000));
  };
  const now = () => {
    if (timer === undefined || over) return;
    clearTimeout(timer);
    open();
  };
  addEventListener("online", now);
  open();
  return () => {
    over = true;
    removeEventListener("online", now);
    clearTimeout(timer);
    source?.close();
  };
}

function on<T>(s: EventSource, name: string, f: (value: T) => void): void {
  s.addEventListener(name, (e) => {
    let value: T;
    try {
      value = read((e as MessageEvent<string>).data) as T;
    } catch {
      return; // one that cannot be read is as good as none: the lists are read anew
    }
    f(value);
  });
}
