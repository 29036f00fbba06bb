import { envoys, events, self, sessions, start, type Envoy, type RelayInfo, type Self, type Session, type Verb } from "../api";
import { signedOut } from "../ui/signedout";

const pageSize = 1000; // what the relay gives at most
const settle = 250; // ms between two renderings of what changed
const settleMany = 1000; // the same for a fleet of thousands, which is never quiet
const many = 2000; // envoys

/**
 * Live is what the page knows of the relay, kept up to date by the relay's events. Lists are read
 * after the events have begun, so that nothing falls between the two; what an event told meanwhile
 * is newer than the list and stays.
 */
export class Live extends EventTarget {
  me: Self | undefined;
  relay: RelayInfo | undefined;
  readonly envoys = new Map<string, Envoy>();
  readonly sessions = new Map<string, Session>();
  version = 0; // grows with each change of the envoys
  connected = true;
  loaded = false; // the fleet
  sessionsLoaded = false;
  failure: unknown; // of reading the fleet
  sessionsFailure: unknown;

  private told: Set<string> | undefined; // ids that events named while the lists are read
  private fresh: Set<string> | undefined;
  private stop: (() => void) | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private wanted = false; // somebody looks at sessions
  private round = 0;
  private sessionRound = 0;

  may(verb: Verb): boolean {
    return this.me?.may.includes(verb) ?? false;
  }

  /** start finds out who is signed in; it throws if that is nobody. */
  async start(): Promise<void> {
    const s = await start();
    this.me = s.self;
    this.relay = s.relay;
    for (const e of s.envoys) this.envoys.set(e.id, e);
    for (const v of s.sessions) this.sessions.set(v.id, v);
    this.loaded = this.may("see envoys") && !s.next;
    this.version++;
    this.listen(); // the lists are read again then: what changed meanwhile was not told
  }

  /** mine are one's own open sessions, the newest first. */
  get mine(): Session[] {
    return [...this.sessions.values()].filter((s) => s.own && s.state !== "closed" && s.state !== "closing").sort((a, b) => Date.parse(b.created) - Date.parse(a.created));
  }

  /** again reads anew who is signed in, and what they may do. */
  async again(): Promise<void> {
    this.me = await self();
    this.changed();
  }

  private listen(): void {
    this.stop = events({
      envoy: (e) => this.envoy(e),
      envoyGone: (id) => this.envoyGone(id),
      session: (s) => this.session(s),
      live: (on) => this.live(on),
      signedOut: (p) => signedOut(p),
    });
  }

  /** leaving does what ends this sign-in; the events would take its end for somebody else's doing. */
  async leaving(f: () => Promise<unknown>): Promise<void> {
    this.stop?.();
    try {
      await f();
    } catch (err) {
      this.listen();
      throw err;
    }
  }

  /** wantSessions reads the sessions, now and whenever the events were interrupted. */
  wantSessions(): void {
    if (this.wanted) return;
    this.wanted = true;
    void this.readSessions();
  }

  envoy(e: Envoy): void {
    this.told?.add(e.id);
    this.envoys.set(e.id, e);
    this.version++;
    this.changed();
  }

  envoyGone(id: string): void {
    this.told?.add(id);
    this.envoys.delete(id);
    this.version++;
    this.changed();
  }

  session(s: Session): void {
    this.fresh?.add(s.id);
    this.sessions.set(s.id, s);
    this.changed();
  }

  private live(on: boolean): void {
    this.connected = on;
    this.changed();
    if (!on) {
      if (!this.loaded && !this.told) void this.readEnvoys(); // better an old list than none
      return;
    }
    void this.readEnvoys();
    if (this.may("see sessions")) void this.readSessions();
  }

  /** readEnvoys reads the whole fleet, page by page. */
  async readEnvoys(): Promise<void> {
    if (!this.may("see envoys")) return;
    const round = ++this.round;
    const told = (this.told = new Set());
    const seen = new Set<string>();
    this.failure = undefined;
    try {
      let next: string | undefined;
      do {
        const page = await envoys(pageSize, next);
        if (round !== this.round) return; // begun anew meanwhile
        for (const e of page.value) {
          seen.add(e.id);
          if (!told.has(e.id)) this.envoys.set(e.id, e);
        }
        this.version++;
        this.changed();
        next = page.next;
      } while (next);
      for (const id of this.envoys.keys()) if (!seen.has(id) && !told.has(id)) this.envoys.delete(id);
      this.loaded = true;
    } catch (err) {
      if (round !== this.round || signedOut(err)) return;
      this.failure = err;
    }
    this.told = undefined;
    this.version++;
    this.changed();
  }

  async readSessions(): Promise<void> {
    const round = ++this.sessionRound;
    const fresh = (this.fresh = new Set());
    this.sessionsFailure = undefined;
    try {
      const all = this.wanted; // else the open ones are enough
      const list = await sessions(all);
      if (round !== this.sessionRound) return;
      const seen = new Set(list.map((s) => s.id));
      for (const s of list) if (!fresh.has(s.id)) this.sessions.set(s.id, s);
      for (const id of this.sessions.keys()) if (!seen.has(id) && !fresh.has(id)) this.sessions.delete(id);
      this.sessionsLoaded = all;
    } catch (err) {
      if (round !== this.sessionRound || signedOut(err)) return;
      this.sessionsFailure = err;
    }
    this.fresh = undefined;
    this.changed();
  }

  private changed(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.dispatchEvent(new Event("change"));
    }, this.envoys.size > many ? settleMany : settle);
  }
}

/** live is the one of this page. */
export const live = new Live();
