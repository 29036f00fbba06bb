// Firefox as Debian has it, by WebDriver BiDi: playwright-core drives only builds of its own, and
// newer ones.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import WebSocket from "ws";
import { patience, until } from "./story.mjs";

const keys = { Enter: "\ue007" };

const prefs = {
  "network.dns.disableIPv6": true, // the relay of a test listens on 127.0.0.1 alone
  "network.proxy.type": 0,
  "webgl.disabled": true, // terminals are drawn as elements, whose text can be read
  "app.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.reportingpolicy.firstRun": false,
};

/** Firefox is one browser with one page; it has those of playwright's names that a story needs. */
export class Firefox {
  faults = [];
  waiting = new Map();
  last = 0;
  keyboard = {
    type: (text) => this.keysDown([...text]),
    press: (name) => this.keysDown([keys[name]]),
  };

  static async start() {
    const f = new Firefox();
    f.profile = mkdtempSync(join(tmpdir(), "firefox-"));
    writeFileSync(join(f.profile, "user.js"), Object.entries(prefs).map(([k, v]) => `user_pref(${JSON.stringify(k)}, ${JSON.stringify(v)});\n`).join(""));
    f.child = spawn("firefox-esr", ["--headless", "--no-remote", "--profile", f.profile, "--remote-debugging-port", "0"], { stdio: ["ignore", "ignore", "pipe"] });
    f.ended = new Promise((done) => f.child.on("close", done));
    let said = "";
    f.child.stderr.setEncoding("utf8").on("data", (s) => (said += s));
    const [, at] = await until("Firefox listens", () => /WebDriver BiDi listening on (ws:\S+)/.exec(said));
    f.socket = new WebSocket(`${at}/session`);
    await new Promise((done, failed) => f.socket.once("open", done).once("error", failed));
    f.socket.on("message", (m) => f.message(JSON.parse(m)));
    await f.send("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: true } } });
    await f.send("session.subscribe", { events: ["log.entryAdded"] });
    f.context = (await f.send("browsingContext.getTree", {})).contexts[0].context;
    await f.send("browsingContext.setViewport", { context: f.context, viewport: { width: 1100, height: 700 } });
    return f;
  }

  async close() {
    this.socket?.close();
    this.child.kill();
    await this.ended;
    rmSync(this.profile, { recursive: true, force: true });
  }

  send(method, params) {
    return new Promise((done, failed) => {
      const id = ++this.last;
      const timer = setTimeout(() => failed(new Error(`${method}: no answer`)), patience);
      this.waiting.set(id, (m) => {
        clearTimeout(timer);
        if (m.type === "success") done(m.result);
        else failed(new Error(`${method}: ${m.error}: ${m.message}`));
      });
      this.socket.send(JSON.stringify({ id, method, params }));
    });
  }

  message(m) {
    if (m.type === "event") {
      if (m.params.level === "error") this.faults.push(m.params.text);
      return;
    }
    this.waiting.get(m.id)?.(m);
    this.waiting.delete(m.id);
  }

  async goto(url) {
    await this.send("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  async reload() {
    await this.send("browsingContext.reload", { context: this.context, wait: "complete" });
  }

  async evaluate(f, ...args) {
    const expression = `(async () => JSON.stringify(await (${f})(...${JSON.stringify(args)})))()`;
    const r = await this.send("script.evaluate", { expression, target: { context: this.context }, awaitPromise: true });
    if (r.type !== "success") throw new Error(r.exceptionDetails.text);
    return r.result.type === "string" ? JSON.parse(r.result.value) : undefined;
  }

  /** seen waits until a function gives something in the page, which may be on its way to another. */
  seen(what, f, ...args) {
    return until(what, () => this.evaluate(f, ...args).catch(() => undefined));
  }

  /** click presses the first button or link with this name. */
  async click(name) {
    await this.seen(`"${name}"`, (name) => {
      const e = [...document.querySelectorAll("button, a")].find((e) => (e.ariaLabel ?? e.textContent.trim()) === name);
      e?.click();
      return Boolean(e);
    }, name);
  }

  async keysDown(list) {
    const actions = list.flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
    await this.send("input.performActions", { context: this.context, actions: [{ type: "key", id: "keyboard", actions }] });
  }
}
