import type { ConnectRequest, Envoy, Opening } from "../api/model";
import { Problem } from "../api/problem";
import * as relay from "../api/relay";
import { plain } from "../viewer/text";
import type { Visit, Wish } from "./form";
import type { Spec } from "./spec";

/** ready finds out who is signed in, and about which machine it is, before anybody is asked for a password. */
export async function ready(spec: Spec): Promise<Envoy> {
  const me = await relay.self();
  if (spec.session === undefined && !me.may.includes("open sessions")) throw Problem.of("forbidden");
  return relay.envoy(spec.envoy);
}

/** machine is an envoy's name, for people. */
export function machine(e: Envoy | undefined, spec: Spec): string {
  return plain(e?.hostname ?? spec.envoy.slice(0, 8), 64);
}

/** open asks the relay for a session with a screen of this size. */
export function open(spec: Spec, room: { width: number; height: number }, ask: { wish?: Wish; visit?: Visit }, signal: AbortSignal): Promise<Opening> {
  const { wish, visit } = ask;
  const req: ConnectRequest = { envoy_id: spec.envoy, protocol: spec.kind, desktop: { ...room, dpi: Math.round(96 * (devicePixelRatio || 1)), timezone: timezone(), ...wish } };
  if (spec.port !== undefined) req.port = spec.port;
  if (spec.console) Object.assign(req, { console: true, view: visit?.view === true, purpose: visit?.purpose ?? "" });
  return relay.connect(req, { signal });
}

function timezone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone ?? "";
}
