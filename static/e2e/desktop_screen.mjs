// The desktop's page, as somebody in front of it has it: pixels, keys and a mouse.
import { execFile } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { origin, patience, scrier, until, work } from "./story.mjs";

export const ground = "#1e6450"; // what desktops of the scripts are filled with

export class Desktop {
  answers = 0;

  /** folder is where the desktop's shell writes its answers. */
  constructor(page, folder = work) {
    this.page = page;
    this.folder = folder;
  }

  /** open goes to a desktop of web1, and waits for its picture. */
  static async open(page, query) {
    const d = new Desktop(page);
    await d.go(query);
    await d.connected();
    return d;
  }

  async go(query, at = origin) {
    const [{ id }] = JSON.parse(await scrier("envoys", "list", "--json"));
    await this.page.goto(`${at}/scrier/${id}?${new URLSearchParams(query)}`);
  }

  async connected(time = patience) {
    await this.status(/Connected/, time);
    await until("the desktop's picture", async () => (await this.size())[0] > 0, time);
  }

  /** status waits until the status line says it. */
  async status(pattern, time = patience) {
    await this.page.getByRole("contentinfo").filter({ hasText: pattern }).waitFor({ timeout: time });
  }

  get session() {
    return new URL(this.page.url()).searchParams.get("session");
  }

  /** size is the desktop's, in its own pixels, as the status line has it. */
  async size() {
    const m = (await this.page.getByRole("contentinfo").textContent()).match(/(\d+)×(\d+)/);
    return m ? m.slice(1).map(Number) : [0, 0];
  }

  /** pixel is a colour of the picture, in the desktop's own pixels. */
  async pixel(x, y) {
    return this.page.evaluate(([x, y]) => {
      // The first canvas is the screen itself; behind it are other layers and the pointer.
      const canvas = document.querySelector("[data-desktop] canvas");
      if (!canvas || x >= canvas.width || y >= canvas.height) return "nothing";
      return "#" + [...canvas.getContext("2d").getImageData(x, y, 1, 1).data.slice(0, 3)].map((v) => v.toString(16).padStart(2, "0")).join("");
    }, [x, y]);
  }

  /** shows waits until a pixel has a colour; near is how far each part of it may be off. */
  async shows(x, y, colour, { near = 0, time = patience } = {}) {
    const parts = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16));
    let last;
    await until("", async () => {
      last = await this.pixel(x, y);
      return last.startsWith("#") && parts(last).every((v, i) => Math.abs(v - parts(colour)[i]) <= near);
    }, time).catch(() => {
      throw new Error(`pixel ${x},${y} is ${last}, not ${colour}, within ${time / 1000} s`);
    });
  }

  /** box is where the picture is on the page. */
  async box() {
    return this.page.locator("[data-desktop] .picture > *").first().boundingBox();
  }

  async at(x, y) {
    const [box, [width]] = [await this.box(), await this.size()];
    return [box.x + (x + 0.5) * box.width / width, box.y + (y + 0.5) * box.width / width];
  }

  async click(x, y) {
    await this.page.mouse.click(...(await this.at(x, y)));
  }

  /** focus clicks into the shell's window, and waits until it has the keyboard: a window manager takes a moment. */
  async focus(x, y) {
    const file = join(this.folder, `focus-${++this.answers}`);
    await this.click(x, y);
    await until("the shell has the keyboard", async () => {
      await this.run(`echo >${file}`);
      return until("", () => existsSync(file), 1000).catch(() => false);
    });
  }

  /** run types a line, key by key, and Enter. */
  async run(line) {
    await this.page.keyboard.type(line);
    await this.page.keyboard.press("Enter");
  }

  /** answer runs a command in the desktop's shell and gives what it printed, without the last newline. */
  async answer(command) {
    const file = join(this.folder, `answer-${++this.answers}`);
    rmSync(file, { force: true });
    await this.run(`{ ${command}; echo; echo end; } >${file}`);
    let out;
    await until(`the answer of ${command}`, () => {
      try {
        out = readFileSync(file, "utf8");
      } catch {
        return false;
      }
      return out.endsWith("\nend\n");
    });
    return out.replace(/\n?\nend\n$/, "");
  }

  /** points moves the mouse, and wants the X server of a desktop (its name in the script) to have the pointer there. */
  async points(x, y, display, name) {
    const env = { ...process.env, DISPLAY: display, XAUTHORITY: join(work, `${name}-x`, "Xauthority") };
    await this.page.mouse.move(...(await this.at(x, y)));
    let last;
    await until("", async () => {
      last = (await promisify(execFile)("xdotool", ["getmouselocation"], { env })).stdout;
      const [, fx, fy] = last.match(/^x:(\d+) y:(\d+) /).map(Number);
      return Math.abs(fx - x) <= 1 && Math.abs(fy - y) <= 1; // a smaller picture has fewer points
    }).catch(() => {
      throw new Error(`the pointer is at ${last}, not at ${x},${y}`);
    });
  }

  /** colour lets the shell change its window's. */
  async colour(colour) {
    await this.run(`printf '\\033]11;${colour}\\007'`);
  }
}
