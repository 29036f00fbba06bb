import * as relay from "../api/relay";
import { button, el } from "./dom";

/** Running is a session that goes on when the page is left. */
export interface Running {
  readonly where: string;
  end(): Promise<void>;
}

const patience = 2000; // ms for the relay to say how long a session goes on

/** askBeforeLeaving asks whoever goes to the fleet by a link what is to become of what runs; what: "shell", "desktop". */
export function askBeforeLeaving(what: string, running: () => readonly Running[]): void {
  document.addEventListener("click", (e) => {
    const a = e.target instanceof Element ? e.target.closest<HTMLAnchorElement>('a[href="/"]') : null;
    if (!a || e.button !== 0 || e.ctrlKey || e.metaKey || e.shiftKey || e.altKey) return;
    const list = running();
    if (list.length === 0) return;
    e.preventDefault();
    void leave(what, list);
  });
}

/**
 * askBeforeUnload has the browser ask whoever closes or reloads the page while something would be lost by that. A session
 * alone is not: it goes on for a while, and is found again.
 */
export function askBeforeUnload(loses: () => boolean): void {
  addEventListener("beforeunload", (e) => {
    if (loses()) e.preventDefault();
  });
}

async function leave(what: string, list: readonly Running[]): Promise<void> {
  const one = list.length === 1 ? list[0] : undefined;
  const them = one ? "It goes on" : "They go on";
  const words = el("p", {}, `${them} without you for a while.`);
  const answer = choose(one ? `Leave the ${what} on ${one.where}?` : `Leave ${list.length} ${what}s?`,
    [words, el("p", { class: "muted" }, "You find the way back on the page Fleet, under “Your sessions”.")], one ? "End it" : "End them", one ? "Keep it running" : "Keep them running");
  void relay.relay({ timeout: patience }).then((r) => {
    words.textContent = `${them} without you for ${span(r.detach_grace)}. If you are not back by then, ${one ? "it ends" : "they end"}, with everything that runs in ${one ? "it" : "them"}.`;
  }, () => {});
  const choice = await answer;
  if (choice === undefined) return;
  if (choice === "end") await Promise.all(list.map((r) => r.end()));
  location.assign("/");
}

function span(seconds: number): string {
  const m = Math.round(seconds / 60);
  return seconds < 90 ? `${seconds} seconds` : m < 120 ? `${m} minutes` : `${Math.round(m / 60)} hours`;
}

function choose(title: string, body: Node[], end: string, keep: string): Promise<"end" | "keep" | undefined> {
  return new Promise((resolve) => {
    let answer: "end" | "keep" | undefined;
    const say = (a: typeof answer) => () => {
      answer = a;
      dialog.close();
    };
    const go = button(keep, { class: "button primary" }, say("keep"));
    const dialog = el("dialog", { class: "box", "aria-labelledby": "leave-title" }, el("div", { class: "body" }, el("h2", { id: "leave-title" }, title), ...body,
      el("div", { class: "buttons" }, button("Cancel", {}, say(undefined)), button(end, { class: "button danger" }, say("end")), go)));
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (answer === undefined && before instanceof HTMLElement) before.focus();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    go.focus();
  });
}
