import * as relay from "../api/relay";
import { codeNamed } from "../wire/codes";
import type { Ended } from "../wire/messages";

/** endingOf finds how a session that is gone has ended. */
export async function endingOf(session: string): Promise<Ended> {
  const gone = { code: codeNamed("not_found")?.number ?? 0, detail: "" };
  try {
    const s = await relay.session(session);
    if (s.state !== "closed" && s.state !== "closing") return gone;
    return { code: codeNamed(s.reason === "exit" ? "ok" : s.reason)?.number ?? gone.code, detail: s.detail ?? "" };
  } catch {
    return gone; // it was not found, or not ours to see
  }
}
