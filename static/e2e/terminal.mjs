// The terminal's page, as somebody in front of it has it: keys, and what is on the screen.
import { check, origin, patience, until } from "./story.mjs";

export class Terminal {
  constructor(page) {
    this.page = page;
  }

  /** open clicks the envoy's shell in the fleet, and waits for its prompt. */
  static async open(page, at = origin) {
    await page.goto(at + "/");
    await page.getByRole("link", { name: "Shell on web1", exact: true }).click();
    const t = new Terminal(page);
    await t.ready();
    return t;
  }

  async ready() {
    await this.connected();
    await this.shows(/[$#]$/);
  }

  async connected() {
    await this.status(/Connected/);
  }

  /** status waits until the status line says it. */
  async status(pattern) {
    await this.page.getByRole("contentinfo").filter({ hasText: pattern }).waitFor();
  }

  get session() {
    return new URL(this.page.url()).searchParams.get("session");
  }

  /** screen is the rows that are seen, without what is blank behind them. */
  async screen() {
    const rows = await this.page.evaluate(() => {
      const panel = document.querySelector("[role=tabpanel]:not([hidden])");
      const reader = panel?.querySelectorAll(".xterm-accessibility-tree > *") ?? []; // drawn by WebGL, only screen readers have the text
      return [...(reader.length ? reader : panel?.querySelectorAll(".xterm-rows > div") ?? [])].map((r) => r.textContent);
    });
    return rows.map((r) => r.replace(/\u00a0/g, " ").trimEnd()).join("\n").trimEnd();
  }

  /** shows waits until the screen has it. */
  async shows(pattern, time = patience) {
    let last = "";
    try {
      return await until("", async () => pattern.exec((last = await this.screen())), time);
    } catch {
      throw new Error(`the terminal does not show ${pattern} within ${time / 1000} s; it shows:\n${last}`);
    }
  }

  async focus() {
    await this.page.locator("[role=tabpanel]:not([hidden]) .xterm-screen").click();
  }

  async key(name) {
    await this.page.keyboard.press(name);
  }

  /** run types a line, key by key, and Enter. */
  async run(line) {
    await this.page.keyboard.type(line);
    await this.page.keyboard.press("Enter");
  }

  /** answer runs a command and gives what it printed between two marks that no echo has. */
  async answer(command) {
    const n = (this.marks = (this.marks ?? 0) + 1);
    await this.run(`clear; echo "<$((${n}))"; ${command}; echo "$((${n}))>"`);
    const [, out] = await this.shows(new RegExp(`(?:^|\\n)<${n}\\n([^]*)(?:^|\\n)${n}>(?:\\n|$)`, "m"));
    return out.replace(/\n$/, "");
  }

  /** paste gives the page a clipboard's text, as Ctrl+V does. */
  async paste(text) {
    await this.page.evaluate((text) => {
      const data = new DataTransfer();
      data.setData("text/plain", text);
      const at = document.querySelector("[role=tabpanel]:not([hidden]) .xterm-helper-textarea");
      at.focus();
      at.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    }, text);
  }

  /** everything is all rows that the terminal keeps, from the first to the last. */
  async everything() {
    await this.focus();
    for (let last; last !== (last = await this.screen()); ) await this.turn("Shift+PageUp", 5);
    const rows = (await this.screen()).split("\n");
    for (let last = rows.join("\n"); ; ) {
      await this.turn("Shift+PageDown");
      const now = await this.screen();
      if (now === last) return rows;
      rows.push(...fresh(last.split("\n"), now.split("\n")));
      last = now;
    }
  }

  // turn scrolls, and waits until the screen is drawn.
  async turn(key, times = 1) {
    for (let i = 0; i < times; i++) await this.key(key);
    await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)))));
  }
}

// fresh is what a screen shows below what the one before showed.
function fresh(before, now) {
  for (let n = Math.min(before.length, now.length); n > 0; n--) {
    if (before.slice(-n).join("\n") === now.slice(0, n).join("\n")) return now.slice(n);
  }
  check(false, "two screens that should overlap do not");
}
