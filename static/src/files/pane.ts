import { Files, type Folder } from "../api/files";
import { Path, type Name } from "../api/path";
import { Problem } from "../api/problem";
import { bytes, count } from "../ui/format";
import { composing } from "../ui/typing";
import { clock } from "../viewer/clock";
import { button, el, icon, type Icon } from "../viewer/dom";
import { prose } from "../viewer/panel";
import { askClash, askName, sureToRemove, words } from "./dialogs";
import { drops } from "./drop";
import { Grid } from "./grid";
import { shown } from "./name";
import { hidden, rowOf, sorted, type Order, type Row } from "./rows";
import { Uploads } from "./uploads";
import { fromInput, type Found } from "./walk";
import { Work } from "./work";

/** Host is where a pane lives. */
export interface Host {
  close?: () => void; // it can be closed
  moved?: (p: Path) => void; // another folder is shown
}

/** Grant is what the pane may use. */
export interface Grant {
  session: string;
  where: string; // whose files they are: "ann@web-01"
  rights: readonly string[]; // empty: nobody says
}

const hiddenKey = "scrier.hidden"; // localStorage: files whose names begin with a dot are shown
const slowTime = 250; // ms after which reading a folder is said
const renewEvery = 1000; // ms between two readings while files arrive
const longestAddress = 8000; // characters of an address, for an archive of many

/** Pane is the files of one machine: a folder, what can be done in it, and what is on its way. */
export class Pane {
  readonly element: HTMLElement;
  private files: Files | undefined;
  private grant: Grant | undefined;
  private live = false; // there is a connection
  private path: Path | undefined; // undefined: the home, which nobody has read yet
  private home: Path | undefined;
  private folder: Folder | undefined;
  private by: Order = "name";
  private down = false;
  private round = 0; // of reading
  private focusNext = ""; // the row to be active once the folder is read
  private renewing: (() => void) | undefined;
  private job: AbortController | undefined; // removing many

  private readonly grid: Grid;
  private readonly uploads: Uploads;
  private readonly work: Work;
  private readonly title = el("h2", { class: "clip" }, "Files");
  private readonly crumbs = el("nav", { class: "crumbs", "aria-label": "Folder" });
  private readonly typed = el("input", { class: "input", "aria-label": "Path", autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
  private readonly form = el("form", { class: "row nowrap goto", hidden: true }, this.typed, el("button", { class: "button" }, "Go"));
  private readonly notices = el("div", { class: "fnotices" });
  private readonly list = el("div", { class: "flist" });
  private readonly note = el("div", { class: "fnote", hidden: true });
  private readonly foot = el("p", { class: "ffoot muted small num", role: "status" });
  private readonly target = el("p", { class: "ftarget", hidden: true });
  private readonly tools: Record<"up" | "home" | "goto" | "again" | "upload" | "tree" | "folder" | "download" | "rename" | "remove" | "hidden", HTMLButtonElement>;
  private readonly one = el("input", { type: "file", multiple: true, hidden: true, "aria-label": "Files to upload", tabindex: "-1" });
  private readonly many = el("input", { type: "file", multiple: true, webkitdirectory: true, hidden: true, "aria-label": "Folder to upload", tabindex: "-1" });

  constructor(private readonly host: Host) {
    this.grid = new Grid({
      open: (r) => this.open(r), up: () => this.up(), rename: () => void this.rename(), remove: () => void this.remove(),
      escape: () => host.close?.(), chosen: () => this.draw(),
      sort: (by) => {
        this.down = this.by === by && !this.down;
        this.by = by;
        this.show();
      },
    });
    this.uploads = new Uploads(clock, {
      changed: () => this.work.changed(),
      ask: (i) => askClash(i, this.path?.key === i.folder.key ? this.grid.rows.find((r) => r.entry.name === i.name) : undefined, this.uploads.totals.files > 1),
      arrived: (p) => this.path?.key === p.key && this.renew(),
    });
    this.work = new Work(() => this.uploads, clock);
    this.work.element.addEventListener("left", () => this.focus());
    const tool = (name: Icon, label: string, hint: string, f: () => void) => button(label, { class: "button quiet tool", title: hint === "" ? label : `${label} (${hint})` }, f, icon(name), el("span", { class: "label" }, label));
    this.tools = {
      up: tool("up", "Up", "Backspace", () => this.up()),
      home: tool("home", "Home", "", () => void this.go(undefined)),
      goto: tool("path", "Go to a path", "", () => this.goTo(this.form.hidden !== false)),
      again: tool("again", "Refresh", "", () => void this.read()),
      upload: tool("upload", "Upload files", "", () => this.one.click()),
      tree: tool("tree", "Upload a folder", "", () => this.many.click()),
      folder: tool("folder", "New folder", "", () => void this.makeFolder()),
      download: tool("download", "Download", "Enter", () => this.download(this.grid.chosen)),
      rename: tool("rename", "Rename", "F2", () => void this.rename()),
      remove: tool("bin", "Delete", "Delete", () => void this.remove()),
      hidden: tool("hidden", "Hidden files", "", () => this.toggleHidden()),
    };
    const t = this.tools;
    t.remove.classList.add("danger");
    for (const input of [this.one, this.many]) {
      input.addEventListener("change", () => {
        const chosen = [...(input.files ?? [])];
        input.value = "";
        if (chosen.length > 0) this.put(fromInput(chosen));
        this.grid.element.focus();
      });
    }
    this.form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.follow(this.typed.value);
    });
    this.form.addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || composing(e)) return;
      e.preventDefault();
      e.stopPropagation();
      this.goTo(false);
    });
    const bar = el("div", { class: "ftools", role: "toolbar", "aria-label": "Files" }, t.upload, t.tree, t.folder, el("span", { class: "gap" }), t.download, t.rename, t.remove, el("span", { class: "gap" }), t.hidden);
    arrows(bar);
    const close = host.close ? button("Close", { class: "button quiet icon end", title: "Close (Esc)" }, host.close, icon("close")) : undefined;
    this.list.append(this.grid.element, this.note, this.target);
    this.element = el("section", { class: "files", "aria-label": "Files" },
      ...(close ? [el("div", { class: "row nowrap fhead-row" }, this.title, close)] : []),
      el("div", { class: "fplace" }, t.up, t.home, this.crumbs, this.form, t.goto, t.again),
      bar, this.notices, this.list, this.work.element, this.foot, this.one, this.many);
    this.element.addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || composing(e) || !host.close) return;
      e.preventDefault();
      host.close();
    });
    drops(this.element, {
      takes: () => this.mayChange,
      over: (e) => this.dragged(e),
      drop: (found, e) => {
        const r = this.grid.rowAt(e);
        this.put(found, r?.folder ? r : undefined);
      },
    });
    this.say("The files come when the session is open.");
    this.draw();
  }

  /** busy says that something is on its way, which would be lost with the page. */
  get busy(): boolean {
    return this.uploads.busy;
  }

  /** use shows the files of a session from now on, or of another one of the same login. */
  use(g: Grant, at?: Path): void {
    const other = this.grant?.session !== g.session;
    this.grant = g;
    this.live = true;
    this.title.textContent = `Files on ${g.where}`;
    this.element.setAttribute("aria-label", `Files on ${g.where}`);
    if (other) this.files = new Files(g.session);
    if (this.files) this.uploads.use(this.files);
    if (!this.folder) this.path ??= at;
    if (other || !this.folder) void this.read();
    this.draw();
  }

  /** lost says that the connection is gone: what is on its way waits for the next. */
  lost(): void {
    this.live = false;
    this.uploads.lost();
    this.draw();
  }

  /** end says that the session is over; use may come with another one. */
  end(why: string): void {
    this.lost();
    this.files = this.grant = this.folder = undefined;
    this.round++;
    this.list.removeAttribute("aria-busy");
    this.say(why);
    this.draw();
  }

  focus(): void {
    const way = this.note.hidden ? null : this.note.querySelector<HTMLElement>("button");
    (way ?? this.grid.element).focus({ preventScroll: true });
  }

  /** dispose lets go of all that is on its way. */
  dispose(): void {
    this.uploads.cancel();
    this.uploads.lost();
    this.job?.abort();
    this.element.remove();
  }

  private get mayChange(): boolean {
    return this.files !== undefined && this.path !== undefined && this.folder !== undefined && this.allows("upload");
  }

  private get mayTake(): boolean {
    return this.files !== undefined && this.allows("download");
  }

  private allows(right: string): boolean {
    const rights = this.grant?.rights ?? [];
    return rights.length === 0 || rights.includes(right);
  }

  // go shows another folder; undefined is the home.
  private async go(p: Path | undefined, active?: Name): Promise<void> {
    this.path = p;
    this.folder = undefined;
    this.grid.clear();
    this.focusNext = active === undefined ? "" : rowKey(active);
    await this.read();
  }

  private async read(): Promise<void> {
    const { files, path } = this;
    if (!files) return;
    const round = ++this.round;
    const said = this.folder ? () => {} : clock.after(slowTime, () => round === this.round && this.say(spinner("Reading…")));
    this.list.setAttribute("aria-busy", "true");
    this.draw();
    try {
      const f = await files.list(path);
      if (round !== this.round) return;
      this.folder = f;
      if (!path || !("raw" in path.where)) this.path = Path.of(f);
      if (!path) this.home = this.path;
      this.note.hidden = true;
      this.show();
      if (this.path) this.host.moved?.(this.path);
    } catch (err) {
      if (round !== this.round) return;
      const p = Problem.from(err);
      if (this.folder && p.code !== "not_found") this.tell(p);
      else {
        this.folder = undefined;
        this.say(...this.unread(p));
      }
      this.draw();
    } finally {
      said();
      if (round === this.round) this.list.removeAttribute("aria-busy");
    }
  }

  private unread(p: Problem): Node[] {
    const { title, hint } = words(p);
    return [
      el("p", {}, el("strong", {}, title)), ...(p.detail === "" ? [] : [el("p", { class: "mono muted" }, shown(p.detail, 300))]), ...(hint === "" ? [] : [el("p", { class: "muted" }, ...prose(hint))]),
      el("div", { class: "row" }, button("Try again", {}, () => void this.read()), ...(this.path && this.path.names.length > 0 ? [button("Up", {}, () => this.up())] : [])),
    ];
  }

  // renew reads the folder again while files arrive in it.
  private renew(): void {
    this.renewing ??= clock.after(renewEvery, () => {
      this.renewing = undefined;
      void this.read();
    });
  }

  private show(): void {
    const all = (this.folder?.entries ?? []).map(rowOf);
    const seen = showsHidden() ? all : all.filter((r) => !hidden(r));
    this.grid.show(sorted(seen, this.by, this.down), this.by, this.down, `Files in ${shown(this.path?.text ?? "", 200)}`);
    if (this.focusNext !== "") this.grid.go(this.focusNext);
    this.focusNext = "";
    const left = all.length - seen.length;
    if (this.folder && seen.length === 0) {
      this.say(el("p", {}, left > 0 ? `Nothing but ${count(left, "hidden file")} is here.` : "This folder is empty."), this.allows("upload") ? el("p", { class: "muted" }, "Drop files and folders here, or press “Upload files”.") : el("span"));
    } else if (this.folder) this.note.hidden = true;
    this.draw();
  }

  // say puts words in the list's place.
  private say(...what: (Node | string)[]): void {
    if (!this.folder) this.grid.show([], this.by, this.down, "Files");
    this.note.replaceChildren(...what.map((w) => (typeof w === "string" ? el("p", { class: "muted" }, w) : w)));
    this.note.hidden = false;
  }

  private draw(): void {
    const t = this.tools;
    const here = this.files !== undefined;
    const { chosen } = this.grid;
    const change = this.mayChange;
    t.up.disabled = !here || !this.path || this.path.names.length === 0;
    t.home.disabled = t.goto.disabled = t.again.disabled = !here;
    t.upload.disabled = t.tree.disabled = t.folder.disabled = !change;
    t.download.disabled = !this.mayTake || chosen.length === 0;
    t.rename.disabled = !change || chosen.length !== 1;
    t.remove.disabled = !change || chosen.length === 0 || this.job !== undefined;
    t.hidden.setAttribute("aria-pressed", String(showsHidden()));
    this.place();
    const size = chosen.reduce((n, r) => n + (r.folder ? 0 : r.entry.size), 0);
    const n = this.grid.rows.length;
    const left = (this.folder?.entries.length ?? 0) - n;
    const parts = !here ? [] : chosen.length > 1 ? [`${chosen.length.toLocaleString()} of ${n.toLocaleString()} selected`, size > 0 ? bytes(size) : ""]
      : this.folder ? [`${count(n, "entry", "entries")}${left > 0 ? `, ${left.toLocaleString()} hidden` : ""}`, this.folder.more ? "there are more, which are not shown" : ""] : [];
    if (here && !this.live) parts.push("no connection");
    if (here && !this.allows("upload")) parts.push("changing files is not allowed here");
    if (here && !this.allows("download")) parts.push("downloading is not allowed here");
    put(this.foot, parts.filter((p) => p !== "").join(" · "));
  }

  // place shows the folder, each part a way to it.
  private place(): void {
    const p = this.path;
    const key = p?.key ?? "";
    if (this.crumbs.dataset["shown"] === key) return;
    this.crumbs.dataset["shown"] = key;
    const part = (text: string, names: readonly Name[], last: boolean) => {
      const name = shown(text);
      const b = button(`Folder ${name}`, { class: "button quiet slim crumb", title: name }, () => void this.go(new Path(names), p?.names[names.length]), el("bdi", { dir: "ltr" }, shown(text, 60)));
      if (last) b.setAttribute("aria-current", "location");
      return b;
    };
    this.crumbs.replaceChildren(...(p ? [part("/", [], p.names.length === 0), ...p.names.flatMap((n, i) => [...(i > 0 ? [el("span", { class: "muted", "aria-hidden": "true" }, "/")] : []), part(n.text, p.names.slice(0, i + 1), i === p.names.length - 1)])] : []));
    this.crumbs.scrollLeft = this.crumbs.scrollWidth;
  }

  private goTo(on: boolean): void {
    this.form.hidden = !on;
    this.crumbs.hidden = on;
    if (!on) return this.focus();
    const text = this.path && !("raw" in this.path.where) ? this.path.text : "";
    this.typed.value = shown(text, Infinity) === text ? text : ""; // what cannot be seen cannot be edited
    this.typed.focus();
    this.typed.select();
  }

  private follow(text: string): void {
    this.goTo(false);
    const s = text.trim();
    if (s === "" || s === "~") return void this.go(undefined);
    const from = s.startsWith("/") ? [] : s.startsWith("~/") ? (this.home?.names ?? []) : (this.path?.names ?? []);
    const names = [...from];
    for (const n of s.replace(/^~\//, "").split("/")) {
      if (n === "..") names.pop();
      else if (n !== "" && n !== ".") names.push({ text: n });
    }
    void this.go(new Path(names));
  }

  private up(): void {
    if (this.path && this.path.names.length > 0) void this.go(this.path.parent, this.path.last);
  }

  private open(r: Row): void {
    if (r.folder && this.path) void this.go(this.path.join(r.name)).then(() => this.focus());
    else this.download([r]);
  }

  private download(rows: readonly Row[]): void {
    const { files, path } = this;
    if (!files || !path || rows.length === 0 || !this.mayTake) return;
    const one = rows.length === 1 && !rows[0]!.folder ? rows[0] : undefined;
    if (one?.entry.kind === "other") return this.tell(new Problem("bad_request", 0, `${one.shown} is no file that could be downloaded.`));
    const whole = rows.length === this.folder?.entries.length && path.names.length > 0;
    const address = one ? files.content(path.join(one.name)) : files.archive(whole ? [path] : rows.map((r) => path.join(r.name)));
    if (address.length > longestAddress) return this.tell(new Problem("bad_request", 0, "So many cannot be downloaded at once.", "", "Choose fewer, or their folder as a whole."));
    // With `download` it is no going away from the page, which would be asked about.
    el("a", { href: address, download: "" }).click();
    put(this.foot, one ? `The browser downloads ${shown(one.shown, 60)}` : "The browser downloads a zip file");
  }

  private put(found: AsyncIterable<Found>, into?: Row): void {
    if (!this.mayChange || !this.path) return;
    void this.uploads.add(found, into ? this.path.join(into.name) : this.path).catch((err: unknown) => this.tell(Problem.from(err)));
  }

  private dragged(e: DragEvent | undefined): void {
    const r = e && this.grid.rowAt(e);
    const into = r?.folder ? r : undefined;
    this.grid.mark(into);
    this.element.classList.toggle("dropping", e !== undefined && this.mayChange);
    this.target.hidden = e === undefined;
    put(this.target, this.mayChange ? `Upload to ${shown((into && this.path ? this.path.join(into.name) : this.path)?.text ?? "", 120)}` : "Nothing can be uploaded here");
  }

  private async makeFolder(): Promise<void> {
    const { files, path } = this;
    if (!files || !path || !this.mayChange) return;
    const name = await askName({ title: "New folder", action: "Create", value: "", run: (n) => files.makeFolder(path.join({ text: n })) });
    await this.after(path, name);
  }

  private async rename(): Promise<void> {
    const { files, path } = this;
    const r = this.grid.chosen.length > 1 ? undefined : (this.grid.chosen[0] ?? this.grid.active);
    if (!files || !path || !r || !this.mayChange) return;
    const name = await askName({
      title: `Rename ${shown(r.shown, 60)}`, action: "Rename", value: r.entry.raw ? "" : r.entry.name, stem: !r.folder,
      run: async (n) => (n === r.entry.name && !r.entry.raw ? undefined : files.rename(path.join(r.name), path.join({ text: n }))),
    });
    await this.after(path, name);
  }

  private async after(path: Path, name: string | undefined): Promise<void> {
    if (name !== undefined && this.path?.key === path.key) {
      this.focusNext = rowKey({ text: name });
      await this.read();
    }
    this.focus();
  }

  private async remove(): Promise<void> {
    const { files, path } = this;
    const rows = this.grid.chosen.length > 0 ? this.grid.chosen : this.grid.active ? [this.grid.active] : [];
    if (!files || !path || rows.length === 0 || !this.mayChange || this.job || !(await sureToRemove(rows))) return this.focus();
    const last = this.grid.rows.indexOf(rows.at(-1)!);
    const gone = new Set(rows);
    const next = this.grid.rows.slice(last + 1).find((r) => !gone.has(r)) ?? this.grid.rows.slice(0, last).findLast((r) => !gone.has(r));
    const job = (this.job = new AbortController());
    const text = el("p", { role: "status" });
    const line = rows.length > 1 ? el("div", { class: "notice" }, el("div", {}, text), button("Cancel", { class: "button slim" }, () => job.abort())) : undefined;
    if (line) this.notices.append(line);
    this.draw();
    const failed: [Row, Problem][] = [];
    let n = 0;
    for (const r of rows) {
      if (job.signal.aborted) break;
      text.textContent = `Deleting ${(++n).toLocaleString()} of ${rows.length.toLocaleString()}…`;
      try {
        await files.remove(path.join(r.name), r.entry.kind === "dir", { signal: job.signal });
      } catch (err) {
        if (job.signal.aborted) break;
        const p = Problem.from(err);
        if (p.code !== "not_found") failed.push([r, p]);
        if (p.status === 0) break; // the rest would fail as well
      }
    }
    line?.remove();
    this.job = undefined;
    const [first] = failed;
    if (first) {
      const more = failed.length > 1 ? ` And ${count(failed.length - 1, "other was", "others were")} not deleted.` : "";
      const { title, hint } = words(first[1]);
      this.tell(new Problem("", first[1].status, `${first[0].shown} was not deleted: ${title}`, first[1].detail + more, hint));
    }
    if (this.path?.key === path.key) {
      this.focusNext = first?.[0].key ?? next?.key ?? "";
      await this.read();
    }
    this.focus();
  }

  // tell shows what went wrong, until it is dismissed or something else does.
  private tell(p: Problem): void {
    const { title, hint } = words(p);
    const box = el("div", { class: "notice bad", role: "alert" },
      el("div", {}, el("p", {}, el("strong", {}, shown(title, 300))), ...(p.detail === "" ? [] : [el("p", { class: "mono" }, shown(p.detail, 300))]), ...(hint === "" ? [] : [el("p", {}, ...prose(hint))])),
      button("Dismiss", { class: "button quiet icon", title: "Dismiss" }, () => {
        box.remove();
        this.focus();
      }, icon("close")));
    this.notices.querySelector(".bad")?.remove();
    this.notices.append(box);
  }

  private toggleHidden(): void {
    try {
      localStorage.setItem(hiddenKey, showsHidden() ? "" : "1");
    } catch {
      return this.tell(new Problem("internal", 0, "The browser does not let the page remember that."));
    }
    this.show();
  }
}

function rowKey(n: Name): string {
  return n.raw ? `raw:${n.raw}` : `:${n.text}`;
}

function showsHidden(): boolean {
  try {
    return localStorage.getItem(hiddenKey) === "1";
  } catch {
    return true; // storage is switched off: better all than none
  }
}

function spinner(text: string): HTMLElement {
  return el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), text);
}

// arrows lets the arrow keys go from tool to tool.
function arrows(bar: HTMLElement): void {
  bar.addEventListener("keydown", (e) => {
    const all = [...bar.querySelectorAll("button")].filter((b) => !b.disabled && b.offsetParent);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    const at = all.findIndex((b) => b === document.activeElement);
    if (step === undefined || at < 0) return;
    e.preventDefault();
    all.at((at + step) % all.length)?.focus();
  });
}

// put changes text only where it differs, so that screen readers are not told the same again.
function put(e: HTMLElement, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}
