import { el } from "../viewer/dom";
import { broken, card, type Way } from "../viewer/panel";
import { plain } from "../viewer/text";
import type { Link } from "./link";

/** ending tells how a session ended. */
export function ending(link: Link, list: Way[]): HTMLElement | undefined {
  if (link.state.name !== "ended") return undefined;
  const { exit } = link.state;
  if (exit.code === 0) {
    const how = exit.signal !== "" ? `The shell was ended by the signal ${plain(exit.signal, 16)}.` : exit.status !== 0 ? `The shell ended with status ${exit.status}.` : "The shell ended.";
    return card(how, [exit.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(exit.detail, 400))], list);
  }
  return broken(exit, list);
}
