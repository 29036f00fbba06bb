// The files of a machine as somebody in front of a page has them, and what is on the machine's disk.
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { inflateRawSync } from "node:zlib";
import { check, same, until, work } from "./story.mjs";

export const transferTime = 60_000; // ms for some MiB on a busy machine

export class Pane {
  constructor(page) {
    this.page = page;
    this.list = page.getByRole("grid", { name: /^Files/ });
    this.tools = page.getByRole("toolbar", { name: "Files", exact: true });
    this.transfers = page.getByRole("region", { name: "Transfers" });
  }

  row(name) {
    return this.list.getByRole("row", { name, exact: false });
  }

  async has(...names) {
    for (const n of names) await this.row(n).first().waitFor();
  }

  tool(name) {
    return this.tools.getByRole("button", { name, exact: true });
  }

  /** active is the name of the row that the keys act on. */
  active() {
    return this.list.evaluate((g) => document.getElementById(g.getAttribute("aria-activedescendant") ?? "")?.querySelector("bdi")?.textContent ?? "");
  }

  /** drop lets go of files and folders of this computer over a row, or over the list. */
  async drop(paths, row) {
    const box = await (row ? this.row(row).first() : this.list).boundingBox();
    const client = await this.page.context().newCDPSession(this.page);
    const data = { items: [], files: paths, dragOperationsMask: 1 };
    const at = { x: box.x + box.width / 2, y: row ? box.y + box.height / 2 : box.y + box.height - 8 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await client.send("Input.dispatchDragEvent", { type, ...at, data });
    await client.detach();
  }

  /** uploaded waits until what is on its way is there. */
  async uploaded(words = /^(The upload is complete|All [\d,]+ are uploaded)\.$/) {
    await this.transfers.getByText(words).first().waitFor({ timeout: transferTime });
  }

  async dismiss() {
    await this.transfers.getByRole("button", { name: "Dismiss" }).click();
    await this.transfers.waitFor({ state: "hidden" });
  }

  /** download presses a button or key, and gives the file's name and bytes as the browser saved them. */
  async download(press) {
    const [d] = await Promise.all([this.page.waitForEvent("download"), press()]);
    return { name: d.suggestedFilename(), path: await d.path() };
  }

  dialog(name) {
    return this.page.getByRole("dialog", { name });
  }
}

/** ours makes a file of this computer's. */
export function ours(name, size, time) {
  const to = join(work, "ours", name);
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, typeof size === "number" ? randomBytes(size) : size);
  if (time) utimesSync(to, time, time);
  return to;
}

export async function sum(path) {
  const h = createHash("sha256");
  for await (const b of createReadStream(path)) h.update(b);
  return h.digest("hex");
}

/** arrived fails unless the machine has the same bytes under a name. */
export async function arrived(to, from) {
  check(existsSync(to), `${to} is not there`);
  same(await sum(to), await sum(from), to);
  check(Math.abs(statSync(to).mtimeMs - statSync(from).mtimeMs) < 2000, `${to} has another time`);
}

/** tree is all that is below a folder: names, and sums of files. */
export async function tree(root) {
  const all = {};
  for (const name of readdirSync(root, { recursive: true }).sort()) all[name] = lstatSync(join(root, name)).isDirectory() ? "folder" : await sum(join(root, name));
  return all;
}

/** parts are the part files in a folder. */
export function parts(folder) {
  return readdirSync(folder).filter((n) => n.endsWith(".scrier-part"));
}

/** unzip reads a zip by its directory, at the end: names, and sums of files. */
export function unzip(path) {
  const b = readFileSync(path);
  const end = b.lastIndexOf(Buffer.from("PK\x05\x06"));
  check(end >= 0, `${path} is no zip`);
  const all = {};
  for (let n = b.readUInt16LE(end + 10), at = b.readUInt32LE(end + 16); n > 0; n--) {
    const [method, packed, size, names, extra, comment, local] = [b.readUInt16LE(at + 10), b.readUInt32LE(at + 20), b.readUInt32LE(at + 24), b.readUInt16LE(at + 28), b.readUInt16LE(at + 30), b.readUInt16LE(at + 32), b.readUInt32LE(at + 42)];
    const name = b.toString("utf8", at + 46, at + 46 + names);
    const from = local + 30 + b.readUInt16LE(local + 26) + b.readUInt16LE(local + 28);
    const data = b.subarray(from, from + packed);
    const content = method === 0 ? data : inflateRawSync(data);
    same(content.length, size, `the size of ${name} in the zip`);
    all[name.replace(/\/$/, "")] = name.endsWith("/") ? "folder" : createHash("sha256").update(content).digest("hex");
    at += 46 + names + extra + comment;
  }
  return all;
}
