import { bytes, count, span } from "../ui/format";
import type { Clock } from "../viewer/clock";
import { button, el } from "../viewer/dom";
import { shown } from "./name";
import { below, type Item, type Uploads } from "./uploads";

const drawEvery = 200; // ms
const sayEvery = 15_000; // ms between two words to a screen reader
const window_ = 5000; // ms that the speed is measured over
const ownLine = 1500; // ms after which a file under way has a line of its own
const mostListed = 100; // failures that are shown

/** Work is what is said of transfers: one line for all of them, one for each that takes long, and at the end what failed. */
export class Work {
  readonly element = el("section", { class: "fwork", "aria-label": "Transfers", hidden: true });
  private readonly spoken = el("p", { class: "visually-hidden", role: "status" });
  private readonly text = el("p", { class: "num" });
  private readonly bar = el("progress", { "aria-label": "All uploads" });
  private readonly stop: HTMLButtonElement;
  private readonly close: HTMLButtonElement;
  private readonly each = el("ul", { class: "feach" });
  private readonly end = el("div", { class: "stack tight", hidden: true });
  private readonly lines = new Map<Item, { line: HTMLElement; bar: HTMLProgressElement }>();
  private samples: { at: number; sent: number }[] = [];
  private later: (() => void) | undefined;
  private said = -Infinity;
  private was = false;
  private ended = "";

  constructor(private readonly uploads: () => Uploads, private readonly clock: Clock) {
    this.stop = button("Cancel all uploads", { class: "button slim" }, () => uploads().cancel(), "Cancel");
    this.close = button("Dismiss", { class: "button slim" }, () => uploads().forget());
    this.element.append(el("div", { class: "row nowrap" }, this.text, this.stop, this.close), this.bar, this.each, this.end, this.spoken);
  }

  /** changed says that there is something new to be seen. */
  changed(): void {
    this.later ??= this.clock.after(drawEvery, () => {
      this.later = undefined;
      this.draw();
    });
  }

  private draw(): void {
    const u = this.uploads();
    const t = u.totals;
    const now = this.clock.now();
    const any = t.files > 0 || u.busy;
    if (!any && !this.element.hidden && this.element.contains(document.activeElement)) this.element.dispatchEvent(new CustomEvent("left", { bubbles: true }));
    this.element.hidden = !any;
    this.stop.hidden = this.bar.hidden = !u.busy;
    this.close.hidden = u.busy;
    if (!any) return;
    if (u.busy) {
      const over = t.done + t.skipped + t.cancelled + t.failed;
      const left = this.left(now, t.sent, t.bytes);
      const parts = [
        `${u.paused ? "Waiting for the connection" : "Uploading"}: ${over.toLocaleString()} of ${t.files.toLocaleString()}${t.looking ? "+" : ""}`,
        `${bytes(t.sent)} of ${bytes(t.bytes)}${t.looking ? "+" : ""}`,
        u.paused ? "" : left,
        t.failed > 0 ? `${t.failed} failed` : "",
      ];
      put(this.text, parts.filter((p) => p !== "").join(" · "));
      this.bar.max = Math.max(t.bytes + t.files, 1); // a file counts as a byte, so that empty ones count at all
      this.bar.value = t.sent + over;
      this.ended = "";
      if (!this.was || now - this.said >= sayEvery) {
        this.said = now;
        put(this.spoken, this.was ? `${Math.floor((100 * (t.sent + over)) / Math.max(t.bytes + t.files, 1))} percent uploaded${u.paused ? ", waiting for the connection" : ""}` : `Uploading ${count(t.files, "file")}`);
      }
    }
    this.was = u.busy;
    this.own(u.active, now);
    this.tell(u);
  }

  // own shows those that take long.
  private own(active: readonly Item[], now: number): void {
    for (const [i, l] of this.lines) {
      if (active.includes(i)) continue;
      l.line.remove();
      this.lines.delete(i);
    }
    for (const i of active) {
      if (!i.file || i.began === undefined || now - i.began < ownLine) continue;
      let l = this.lines.get(i);
      if (!l) {
        const name = shown(i.name, 80);
        const bar = el("progress", { max: String(Math.max(i.file.size, 1)), "aria-label": name });
        const line = el("li", {}, el("bdi", { class: "clip", title: name }, name), bar, button(`Cancel ${name}`, { class: "button slim" }, () => this.uploads().cancel(i), "Cancel"));
        this.lines.set(i, (l = { line, bar }));
        this.each.append(line);
      }
      l.bar.value = i.sent;
    }
  }

  // tell says how it ended.
  private tell(u: Uploads): void {
    const t = u.totals;
    this.end.hidden = u.failures.length === 0 || u.busy;
    if (u.busy) return;
    const all = t.done === t.files;
    const text = all ? (t.files === 1 ? "The upload is complete." : `All ${t.files.toLocaleString()} are uploaded.`)
      : [`${t.done.toLocaleString()} of ${t.files.toLocaleString()} uploaded`, t.failed > 0 ? `${t.failed} failed` : "", t.skipped > 0 ? `${t.skipped} skipped` : "", t.cancelled > 0 ? `${t.cancelled} cancelled` : ""].filter((p) => p !== "").join(", ") + ".";
    const key = `${text} ${u.failures.length}`;
    if (key === this.ended) return;
    this.ended = key;
    this.samples = [];
    put(this.text, text);
    put(this.spoken, text);
    if (u.failures.length === 0) return;
    this.end.replaceChildren(
      el("ul", { class: "ffailed", tabindex: "0", "aria-label": "What failed" }, ...u.failures.slice(0, mostListed).map((i) => el("li", {}, el("bdi", { class: "mono" }, shown(below(i), 200)), ": ", shown(i.why, 300))),
        ...(t.failed > mostListed ? [el("li", { class: "muted" }, `and ${(t.failed - mostListed).toLocaleString()} more`)] : [])),
      el("div", { class: "row" }, button("Try these again", { class: "button slim" }, () => u.retry())));
  }

  // left says how fast it goes, and how long it still takes.
  private left(now: number, sent: number, of: number): string {
    this.samples.push({ at: now, sent });
    while (this.samples.length > 2 && now - this.samples[0]!.at > window_) this.samples.shift();
    const first = this.samples[0]!;
    if (now - first.at < 1000 || sent <= first.sent) return "";
    const speed = (1000 * (sent - first.sent)) / (now - first.at);
    const ms = (1000 * (of - sent)) / speed;
    return `${bytes(Math.round(speed))}/s` + (ms > 2000 ? ` · ${span(ms)} left` : "");
  }
}

// put changes text only where it differs, so that screen readers are not told the same again.
function put(e: HTMLElement, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}
