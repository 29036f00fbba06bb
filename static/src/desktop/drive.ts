import { BlobWriter, JSONReader, Status, type Client, type InputStream, type Object as Filesystem } from "@glokon/guacamole-common-js";
import { button, el } from "../viewer/dom";
import { amount, plain } from "../viewer/text";
import type { Desktop } from "../wire/messages";
import { forbidden, Pane } from "./pane";

const index = "application/vnd.glyptodon.guacamole.stream-index+json";
const most = 2 ** 30; // bytes of a download: it is kept in memory until it is whole
const longest = 2000; // entries of a folder that are shown
const ok = Status.Code.SUCCESS;
const no = Status.Code.CLIENT_FORBIDDEN;

/** DrivePane shows the drive that the desktop and this page share: list, take, put. */
export class DrivePane extends Pane {
  private fs: Filesystem | undefined;
  private may: Desktop | undefined;
  private path = "/";
  private readonly where = el("p", { class: "mono detail" });
  private readonly list = el("ul", { class: "lines files" });
  private readonly work = el("div", { class: "stack tight", role: "status" });
  private readonly limits = el("div", { class: "stack tight" });
  private readonly pick = el("input", { type: "file", multiple: true, class: "visually-hidden", tabindex: "-1", "aria-label": "Files to upload" });
  private readonly upload = button("Upload…", { class: "button primary" }, () => this.pick.click());
  private readonly refresh = button("Refresh", {}, () => this.read());

  constructor(private readonly came: () => void, closed: () => void) {
    super("Files", closed);
    this.pick.addEventListener("change", () => {
      for (const f of this.pick.files ?? []) this.put(f);
      this.pick.value = "";
    });
    this.body.append(el("div", { class: "row" }, this.upload, this.refresh, this.pick), this.limits, this.work, this.where, this.list);
  }

  /** here says that the desktop has a drive. */
  get here(): boolean {
    return this.fs !== undefined;
  }

  use(client: Client, may: Desktop): void {
    this.fs = undefined;
    this.may = may;
    this.path = "/";
    this.list.replaceChildren();
    client.onfilesystem = (object) => {
      this.fs = object;
      object.onundefine = () => {
        this.fs = undefined;
        this.came();
      };
      this.upload.disabled = !may.upload;
      this.limits.replaceChildren(...[
        may.upload ? undefined : forbidden("Uploading", "scrier.desktop.drive.upload"), may.download ? undefined : forbidden("Downloading", "scrier.desktop.drive.download"),
      ].filter((e) => e !== undefined));
      this.came();
      if (this.open) this.read();
    };
    // What the desktop itself hands out, by its folder "Download", comes only if the person wants it.
    client.onfile = (stream, mimetype, name) => {
      if (!may.download) return stream.sendAck("not allowed", no);
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

  override show(): void {
    super.show();
    this.read();
  }

  private read(): void {
    const fs = this.fs;
    if (!fs) return;
    const path = this.path;
    this.where.textContent = plain(path, 200);
    fs.requestInputStream(path, (stream, mimetype) => {
      if (mimetype !== index) return stream.sendAck("not a folder", Status.Code.CLIENT_BAD_TYPE);
      const reader = new JSONReader(stream);
      reader.onprogress = () => stream.sendAck("OK", ok);
      reader.onend = () => {
        if (this.path === path) this.entries(reader.getJSON() as Record<string, unknown>);
      };
      stream.sendAck("OK", ok);
    });
  }

  private entries(found: Record<string, unknown>): void {
    const items = Object.entries(found).map(([path, type]) => ({ path, folder: type === index, name: path.slice(path.lastIndexOf("/") + 1) || path }));
    items.sort((a, b) => Number(b.folder) - Number(a.folder) || a.name.localeCompare(b.name));
    const up = this.path === "/" ? [] : [el("li", {}, button("Up", { class: "button quiet slim" }, () => this.go(this.path.slice(0, this.path.lastIndexOf("/")) || "/")))];
    this.list.replaceChildren(...up, ...items.slice(0, longest).map((i) => {
      const name = plain(i.name, 120);
      if (i.folder) return el("li", { class: "row nowrap" }, button(`${name}/`, { class: "button quiet slim" }, () => this.go(i.path)));
      const take = button(`Download ${name}`, { class: "button slim end" }, () => this.fs?.requestInputStream(i.path, (s, type) => this.take(s, type, i.name)), "Download");
      take.disabled = this.may?.download !== true;
      return el("li", { class: "row nowrap" }, el("span", { class: "clip", title: name }, name), take);
    }));
    if (items.length === 0) this.list.append(el("li", { class: "muted" }, "Nothing is here."));
  }

  private go(path: string): void {
    this.path = path;
    this.read();
  }

  private take(stream: InputStream, mimetype: string, name: string): void {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let bytes = 0;
    let over = false;
    const line = this.line("");
    const text = line.firstElementChild!;
    const stop = (why: string) => {
      over = true;
      parts.length = 0;
      stream.sendAck(why, no);
      line.remove();
    };
    line.append(button("Cancel", { class: "button slim" }, () => stop("cancelled")));
    stream.onblob = (data) => {
      if (over) return;
      const b = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      bytes += b.length;
      if (bytes > most) {
        stop("too large");
        this.done(this.line(`${plain(name, 80)} is larger than ${amount(most)} bytes: take it another way.`));
        return;
      }
      parts.push(b);
      text.textContent = `Downloading ${plain(name, 80)}: ${amount(bytes)} bytes`;
      stream.sendAck("OK", ok);
    };
    stream.onend = () => {
      if (over) return;
      line.remove();
      const url = URL.createObjectURL(new Blob(parts, { type: mimetype }));
      const a = el("a", { href: url, download: plain(name, 200) || "file" });
      a.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    };
    text.textContent = `Downloading ${plain(name, 80)}`;
    stream.sendAck("OK", ok);
  }

  private put(file: File): void {
    const fs = this.fs;
    if (!fs || this.may?.upload !== true) return;
    const folder = this.path === "/" ? "" : this.path;
    const writer = new BlobWriter(fs.createOutputStream(file.type || "application/octet-stream", `${folder}/${file.name}`));
    const name = plain(file.name, 80);
    const line = this.line(`Uploading ${name}`);
    const bar = el("progress", { max: String(Math.max(file.size, 1)), value: "0", "aria-label": `Uploading ${name}` });
    line.append(bar);
    const end = (text: string) => {
      line.replaceChildren(el("span", {}, text));
      this.done(line);
    };
    writer.onprogress = (_, offset) => (bar.value = offset);
    writer.oncomplete = () => {
      writer.sendEnd();
      end(`${name} is there.`);
      this.read();
    };
    writer.onerror = () => end(`${name} cannot be read.`);
    writer.onack = (status) => {
      if (status.isError()) end(`${name} was not taken: ${plain(status.message ?? "", 120)}`);
    };
    writer.sendBlob(file);
  }

  private line(text: string): HTMLElement {
    const l = el("div", { class: "row" }, el("span", {}, text));
    this.work.append(l);
    return l;
  }

  private done(line: HTMLElement): void {
    setTimeout(() => line.remove(), 15_000);
  }
}
