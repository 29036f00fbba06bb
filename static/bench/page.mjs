// The browser of `./just bench`: it opens shells as somebody at the pages does, presses keys, and
// tells when the answers were there. bench/browser.go starts it with the relay's address and a
// sign-in link, and gives it a command a line on standard input:
//
//	{"do": "open"}                      the fleet, a click on the shell, until the prompt
//	{"do": "far", "run": COMMAND}       start the program that answers keys (bench/far.go)
//	{"do": "key"}                       press one, until its echo is on the screen
//	{"do": "flood", "limit": MS}        have output come, and go on typing while it does
//	{"do": "settle"}                    wait for the end of output that took longer than its limit
//	{"do": "leave"}                     end the program and the shell
//
// each with "over", the transport that carries the session. Each gets a line of JSON.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import tls from "node:tls";
import { chromium } from "playwright-core";
import { probe } from "./probe.mjs";

const { ORIGIN: origin, LINK: link, PROMPT: prompt } = process.env;
const patience = 60_000; // ms for anything to become true
const pause = () => 20 + Math.random() * 40; // ms before a key: frames of the screen must not keep step with them
const fast = () => 80 + Math.random() * 40; // ms between keys of somebody who does not wait for echoes
const letters = "abcdefghijklmnop";
const columns = 100; // of echoes on the screen, bench/far.go
const most = columns - 10; // keys without an echo yet

// keyHashes are those of the public keys in the relay's chain, which the browser then accepts.
async function keyHashes() {
  const { hostname, port } = new URL(origin);
  const socket = tls.connect({ host: hostname, port, rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  await new Promise((done, failed) => socket.once("secureConnect", done).once("error", failed));
  const hashes = [];
  for (let cert = socket.getPeerX509Certificate(); cert; cert = cert.issuerCertificate) {
    hashes.push(createHash("sha256").update(cert.publicKey.export({ type: "spki", format: "der" })).digest("base64"));
  }
  socket.destroy();
  return hashes;
}

/** Seat is one page, which has one transport only. */
class Seat {
  keys = 0;
  answering = false; // the far program runs

  constructor(page, kind) {
    this.page = page;
    this.kind = kind;
  }

  /** open takes the time from a click in the fleet to the prompt. */
  async open() {
    await this.page.goto(origin + "/");
    await this.page.getByRole("link", { name: /^Shell on / }).click();
    await this.page.waitForFunction(() => globalThis.bench?.prompt !== undefined);
    await this.page.getByRole("contentinfo").filter({ hasText: this.kind }).waitFor();
    return { took: await this.page.evaluate(() => globalThis.bench.prompt) };
  }

  async far({ run }) {
    await this.page.keyboard.type(run);
    await this.page.keyboard.press("Enter");
    await this.page.waitForFunction(() => globalThis.bench.said() === "ready");
    this.keys = 0;
    this.answering = true;
    return {};
  }

  // press gives a key that differs from the one whose echo stood at the same place.
  async press() {
    const letter = letters[(this.keys + Math.floor(this.keys / columns)) % letters.length];
    const column = this.keys++ % columns;
    await this.page.evaluate(([l, c]) => globalThis.bench.expect(l, c), [letter, column]);
    await this.page.keyboard.press(letter);
  }

  async key() {
    await sleep(pause());
    await this.press();
    await this.page.waitForFunction(() => globalThis.bench.waiting() === 0);
    return this.report();
  }

  // report takes the keys that were echoed since the last.
  async report() {
    return this.page.evaluate(() => ({ keys: globalThis.bench.echoes.splice(0), connections: globalThis.bench.connections }));
  }

  async flood({ limit }) {
    const look = () => this.page.evaluate(() => ({ took: globalThis.bench.took, since: globalThis.bench.since(), bytes: globalThis.bench.bytes, waiting: globalThis.bench.waiting() }));
    await this.page.evaluate(() => globalThis.bench.flood());
    await this.page.keyboard.press("F");
    let now = await look();
    const before = now.bytes;
    for (; now.took === undefined && !(now.since >= limit); now = await look()) {
      await sleep(fast());
      if (now.waiting < most) await this.press();
    }
    await this.page.waitForFunction(() => globalThis.bench.waiting() === 0); // the slow ones count too
    return { ...(await this.report()), took: now.took, since: now.since, bytes: now.bytes - before };
  }

  async settle() {
    await this.page.waitForFunction(() => globalThis.bench.took !== undefined);
    return {};
  }

  async leave() {
    if (this.answering) {
      await this.page.keyboard.press("Q");
      await this.page.getByText(prompt.trim()).last().waitFor();
    }
    this.answering = false;
    await this.page.keyboard.type("exit");
    await this.page.keyboard.press("Enter");
    await this.page.getByRole("heading", { name: /^The shell ended/ }).waitFor();
    return {};
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function signIn(browser) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(link);
  await page.getByRole("link", { name: /^Shell on / }).waitFor();
  const state = await context.storageState();
  await context.close();
  return state;
}

async function seat(browser, storageState, kind, without) {
  // A window of its own: what is not in front is not drawn.
  const context = await browser.newContext({ storageState, viewport: { width: 1100, height: 700 } });
  await context.addInitScript(probe, { without, prompt });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  return new Seat(page, kind);
}

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  handleSIGINT: false,
  handleSIGTERM: false, // the end of standard input ends it
  args: [
    "--no-sandbox", "--no-first-run", "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-3d-apis", // a terminal that is drawn as elements can be read
    `--ignore-certificate-errors-spki-list=${(await keyHashes()).join(",")}`,
  ],
});
try {
  const state = await signIn(browser);
  const seats = {
    WebTransport: await seat(browser, state, "WebTransport", "WebSocket"),
    WebSocket: await seat(browser, state, "WebSocket", "WebTransport"),
  };
  const answer = (v) => process.stdout.write(JSON.stringify(v) + "\n");
  answer({ version: browser.version() });
  const lines = createInterface({ input: process.stdin });
  lines.once("close", () => void browser.close()); // nobody waits for what is under way
  for await (const line of lines) {
    const { over, do: name, ...rest } = JSON.parse(line);
    const s = seats[over];
    try {
      answer(await s[name](rest));
    } catch (err) {
      const shown = await s.page.evaluate(() => document.body.innerText.slice(0, 2000)).catch(() => "");
      answer({ error: `${name} over ${over}: ${err.message}\nThe page ${s.page.url()} shows:\n${shown}` });
    }
  }
} finally {
  await browser.close();
}
