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
import { launch, pageOf, pause, serve, signIn, sleep } from "./chrome.mjs";
import { probe } from "./probe.mjs";

const { ORIGIN: origin, LINK: link, PROMPT: prompt } = process.env;
const fast = () => 80 + Math.random() * 40; // ms between keys of somebody who does not wait for echoes
const letters = "abcdefghijklmnop";
const columns = 100; // of echoes on the screen, bench/far.go
const most = columns - 10; // keys without an echo yet

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
    const carried = /WebTransport( \+ WebSocket)?|WebSocket/.exec(await this.page.getByRole("contentinfo").textContent())?.[0];
    return { ...(await this.report()), took: now.took, since: now.since, bytes: now.bytes - before, carried };
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

async function seat(browser, storageState, kind, without, late) {
  return new Seat(await pageOf(browser, { storageState, viewport: { width: 1100, height: 700 } }, probe, { without, prompt, late }), kind);
}

const browser = await launch(origin, "--disable-3d-apis"); // a terminal that is drawn as elements can be read
try {
  const state = await signIn(browser, link);
  const seats = { WebTransport: await seat(browser, state, "WebTransport", "WebSocket") };
  if (process.env.LANE) seats.lane = await seat(browser, state, "WebTransport", "", true); // has both
  else seats.WebSocket = await seat(browser, state, "WebSocket", "WebTransport");
  await serve(browser, async (over) => seats[over]);
} finally {
  await browser.close();
}
