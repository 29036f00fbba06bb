// The browser of the part desktop of `./just bench`: it opens desktops in Scrier's page and in one
// that has guacamole-common-js on a bare WebSocket, presses keys, and tells when the picture changed.
// bench/browser.go starts it and gives it a command a line on standard input:
//
//	{"do": "open"}    a desktop, until its first picture
//	{"do": "key"}     press one, until the block on the desktop has its other colour
//	{"do": "count"}   what has come since the last count
//	{"do": "leave"}   the page goes elsewhere; a session of Scrier's is named, and stays open
//
// each with "over", which of the pages, and "seat", which window with one. Each gets a line of JSON.
import { launch, pageOf, pause, serve, signIn, sleep } from "./chrome.mjs";
import { picture } from "./picture.mjs";

const { ORIGIN: origin, LINK: link, BARE: bare, ENVOY: envoy, PORT: port } = process.env;
const viewport = { width: 1280, height: 900 };
let room; // CSS pixels that Scrier's page has for the picture; the bare page gets as many

/** Seat is one page. */
class Seat {
  constructor(page, kind) {
    this.page = page;
    this.kind = kind;
    this.scrier = kind !== "bare";
  }

  async open() {
    if (this.scrier) await this.page.goto(`${origin}/scrier/${envoy}?protocol=vnc&port=${port}`);
    else await this.page.goto(`${bare}/?width=${room?.width ?? viewport.width}&height=${room?.height ?? viewport.height}`);
    await this.page.waitForFunction(() => globalThis.bench?.first !== undefined);
    if (this.scrier) {
      await this.page.getByRole("contentinfo").filter({ hasText: this.kind }).waitFor();
      room = await this.page.evaluate(() => {
        const { clientWidth: width, clientHeight: height } = document.querySelector("[data-desktop]");
        return { width, height };
      });
    }
    await this.page.locator("[data-desktop]").focus();
    return { took: await this.page.evaluate(() => globalThis.bench.first) };
  }

  async key() {
    await sleep(pause());
    await this.page.evaluate(() => globalThis.bench.expect());
    await this.page.keyboard.press("k");
    await this.page.waitForFunction(() => globalThis.bench.echo !== undefined);
    return { keys: [await this.page.evaluate(() => globalThis.bench.echo)] };
  }

  async count() {
    return this.page.evaluate(() => globalThis.bench.count());
  }

  async leave() {
    const session = new URL(this.page.url()).searchParams.get("session") ?? "";
    await this.page.goto("about:blank");
    return { session };
  }
}

const browser = await launch(origin);
try {
  const storageState = await signIn(browser, link);
  const without = { WebTransport: "WebSocket", WebSocket: "WebTransport", bare: "WebTransport" };
  const seats = new Map();
  await serve(browser, async (over, { seat = 0 }) => {
    const name = `${over} ${seat}`;
    if (!seats.has(name)) {
      const page = await pageOf(browser, { storageState: over === "bare" ? undefined : storageState, viewport }, picture, { without: without[over] });
      seats.set(name, new Seat(page, over));
    }
    return seats.get(name);
  });
} finally {
  await browser.close();
}
