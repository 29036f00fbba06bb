import { Status, type Client, type InputStream, type Object as Filesystem } from "@glokon/guacamole-common-js";
import type { Clock } from "../viewer/clock";
import { button, el } from "../viewer/dom";
import { amount, plain } from "../viewer/text";
import type { Desktop } from "../wire/messages";
import { Download } from "./download";
import { askable, readListing, type Entry } from "./listing";
import { forbidden, Pane } from "./pane";
import type { AttachmentTunnel } from "./tunnel";
import { Uploads, type Item } from "./uploads";

const longest = 2000; // entries of a folder that are shown
const mostLines = 200; // of what happened
const patience = 15_000; // ms for guacd to answer: it says nothing of what it cannot open
const no = Status.Code.CLIENT_FORBIDDEN;

/** DrivePane shows the drive that the desktop and this page share: list, take, put. */
export class DrivePane extends Pane {
  private fs: Filesystem | undefined;
  private may: Desktop | undefined;
  private path = "/";
  private readonly asked = new Map<string, ((s: InputStream, type: string) => void)[]>(); // by path, in their order
  private readonly taking = new Set<Download>();
  private readonly lines = new Map<Item, HTMLElement>();
  private readonly uploads: Uploads;
  private readonly where = el("p", { class: "mono detail" });
  private readonly list = el("ul", { class: "lines files" });
  private readonly work = el("div", { class: "stack tight work-lines", role: "status" });
  private readonly limits = el("div", { class: "stack tight" });
  private readonly pick = el("input", { type: "file", multiple: true, class: "visually-hidden", tabindex: "-1", "aria-label": "Files to upload" });
  private readonly upload = button("Upload…", { class: "button primary" }, () => this.pick.click());
  private readonly refresh = button("Refresh", {}, () => this.read());

  constructor(private readonly clock: Clock, private readonly came: () => void, closed: () => void) {
    super("Files", closed);
    this.uploads = new Uploads(clock, (i) => this.draw(i), () => this.read());
    this.pick.addEventListener("change", () => {
      this.put([...(this.pick.files ?? [])]);
      this.pick.value = "";
    });
    this.body.append(el("div", { class: "row" }, this.upload, this.refresh, this.pick), this.limits, this.work, this.where, this.list);
  }

  /** here says that the desktop has a drive. */
  get here(): boolean {
    return this.fs !== undefined;
  }

  /** busy says that files are on their way, either way: they do not arrive without this page. */
  get busy(): boolean {
    return this.uploads.busy || this.taking.size > 0;
  }

  /** takes says that files may be put on it. */
  get takes(): boolean {
    return this.here && this.may?.upload === true;
  }

  /** why says why files cannot be put there. */
  get why(): string {
    return this.may && !this.may.upload ? "Files cannot be uploaded to this desktop." : "This desktop has no drive for files.";
  }

  use(client: Client, t: AttachmentTunnel, may: Desktop): void {
    this.lost();
    this.may = may;
    client.onfilesystem = (object) => {
      if (this.fs && this.fs.index !== object.index) return; // guacd has one
      const again = this.fs !== undefined; // said once more: what is under way goes on
      this.fs = object;
      object.onundefine = () => {
        if (this.fs !== object) return;
        this.forget();
        this.came();
      };
      // The library's own queue is kept by names of guacd's, and some of them are every object's.
      object.onbody = (stream: InputStream, type: string, name?: string) => {
        const f = this.asked.get(name ?? "")?.shift();
        if (f) f(stream, type);
        else stream.sendAck("nobody asked for it", no);
      };
      if (again) return;
      this.upload.disabled = !may.upload;
      this.limits.replaceChildren(...[
        may.upload ? undefined : forbidden("Uploading", "scrier.desktop.drive.upload"), may.download ? undefined : forbidden("Downloading", "scrier.desktop.drive.download"),
      ].filter((e) => e !== undefined));
      if (may.upload) this.uploads.use({ object: object.index, streams: t.streams, send: (...e) => t.sendMessage(...e) });
      this.came();
      if (this.open) this.read();
    };
    // What the desktop itself hands out, by its folder "Download", comes only if the person wants it.
    client.onfile = (stream, mimetype, name) => {
      if (!may.download || this.work.childElementCount >= mostLines) return stream.sendAck("not allowed", no);
      const line = this.line(`The desktop offers ${plain(name, 80)}.`);
      line.append(button("Save", { class: "button slim" }, () => {
        line.remove();
        this.take(stream, mimetype, name);
      }), button("Refuse", { class: "button slim" }, () => {
        line.remove();
        stream.sendAck("refused", no);
      }));
    };
  }

  /** lost says that the connection is gone: the drive comes back with the next one. */
  lost(): void {
    this.forget();
    for (const d of [...this.taking]) d.lost();
  }

  /** end says that the desktop is over. */
  end(): void {
    this.lost();
    this.uploads.end("the desktop has ended");
    this.path = "/";
    this.list.replaceChildren();
  }

  /** put uploads files to the folder that is shown. */
  put(files: readonly File[]): void {
    const folder = this.path === "/" ? "" : this.path;
    for (const f of files) this.uploads.add(f, folder);
  }

  /** say tells something that concerns files. */
  say(text: string): void {
    this.fade(this.line(text));
  }

  override show(): void {
    super.show();
    this.read();
  }

  private forget(): void {
    this.fs = undefined;
    this.asked.clear();
    this.uploads.lost();
  }

  // ask asks for what lies at a path.
  private ask(path: string, f: (s: InputStream, type: string) => void, late: () => void): void {
    if (!this.fs || !askable(path)) return late();
    const queue = this.asked.get(path) ?? [];
    this.asked.set(path, queue);
    queue.push(f);
    this.fs.requestInputStream(path);
    this.clock.after(patience, () => {
      const n = queue.indexOf(f);
      if (n < 0 || this.asked.get(path) !== queue) return;
      queue.splice(n, 1);
      if (queue.length === 0) this.asked.delete(path);
      late();
    });
  }

  private read(): void {
    const path = this.path;
    if (!this.fs) return;
    this.where.textContent = plain(path, 200);
    const show = (entries?: Entry[]) => {
      if (this.path === path) this.entries(entries);
    };
    this.ask(path, (stream, type) => readListing(stream, type, show), show);
  }

  private entries(items: Entry[] | undefined): void {
    const up = this.path === "/" ? [] : [el("li", {}, button("Up", { class: "button quiet slim" }, () => this.go(this.path.slice(0, this.path.lastIndexOf("/")) || "/")))];
    this.list.replaceChildren(...up, ...(items ?? []).slice(0, longest).map((i) => {
      const name = plain(i.name, 120);
      const ok = askable(i.path);
      if (i.folder) {
        const open = button(`${name}/`, { class: "button quiet slim" }, () => this.go(i.path));
        open.disabled = !ok;
        return el("li", { class: "row nowrap" }, open);
      }
      const take = button(`Download ${name}`, { class: "button slim end" }, () => this.fetch(i), "Download");
      take.disabled = this.may?.download !== true || !ok;
      return el("li", { class: "row nowrap" }, el("span", { class: "clip", title: ok ? name : `${name}: its name has characters that cannot be asked for` }, name), take);
    }));
    if (!items) this.list.append(el("li", { class: "muted" }, "The drive does not say what is here."));
    else if (items.length === 0) this.list.append(el("li", { class: "muted" }, "Nothing is here."));
    else if (items.length > longest) this.list.append(el("li", { class: "muted" }, `And ${items.length - longest} more.`));
  }

  private go(path: string): void {
    this.path = path;
    this.read();
  }

  private fetch(i: Entry): void {
    this.ask(i.path, (stream, type) => this.take(stream, type, i.name), () => this.say(`${plain(i.name, 80)} was not downloaded: the drive does not give it.`));
  }

  private take(stream: InputStream, mimetype: string, name: string): void {
    const shown = plain(name, 80);
    const line = this.line(`Downloading ${shown}`);
    const text = line.firstElementChild!;
    const d: Download = new Download(stream, mimetype, {
      moved: (bytes) => (text.textContent = `Downloading ${shown}: ${amount(bytes)} bytes`),
      there: (file) => {
        this.taking.delete(d);
        line.remove();
        const url = URL.createObjectURL(file);
        el("a", { href: url, download: plain(name, 200) || "file" }).click();
        setTimeout(() => URL.revokeObjectURL(url), 60_000);
      },
      failed: (why) => {
        this.taking.delete(d);
        line.remove();
        if (why !== "") this.say(`${shown} was not downloaded: ${why}.`);
      },
    });
    this.taking.add(d);
    line.append(button("Cancel", { class: "button slim" }, () => d.stop()));
  }

  // draw shows how far an upload is.
  private draw(i: Item): void {
    const name = plain(i.file.name, 80);
    let line = this.lines.get(i);
    if (!line) {
      const bar = el("progress", { max: String(Math.max(i.file.size, 1)), value: "0", "aria-label": `Uploading ${name}` });
      line = this.line("");
      line.append(button(`Cancel ${name}`, { class: "button slim" }, () => this.uploads.cancel(i), "Cancel"), bar);
      this.lines.set(i, line);
    }
    const text = line.firstElementChild!;
    const bar = line.querySelector("progress");
    if (i.state === "waits" || i.state === "goes") {
      const said = i.state === "goes" ? `Uploading ${name}` : this.here ? `${name} waits` : `${name} waits for the connection`;
      if (text.textContent !== said) text.textContent = said;
      if (bar) {
        bar.hidden = i.state === "waits";
        bar.value = i.taken;
      }
      return;
    }
    this.lines.delete(i);
    const part = i.taken > 0 ? ` The first ${amount(i.taken)} bytes of it are there.` : "";
    text.textContent = i.state === "there" ? `${name} is there.` : i.why === "cancelled" ? `${name} was cancelled.${part}` : `${name} was not taken: ${plain(i.why, 160)}.${part}`;
    line.replaceChildren(text);
    if (i.state === "there") this.fade(line);
    else line.append(button("Dismiss", { class: "button slim" }, () => line.remove()));
  }

  private line(text: string): HTMLElement {
    const l = el("div", { class: "row" }, el("span", {}, text));
    this.work.append(l);
    // What failed stays until it is dismissed, unless there is more and more of it.
    const done = [...this.work.children].filter((e) => !e.querySelector("progress"));
    for (const e of done.slice(0, Math.max(done.length - mostLines, 0))) e.remove();
    return l;
  }

  private fade(line: HTMLElement): void {
    setTimeout(() => line.remove(), 15_000);
  }
}
