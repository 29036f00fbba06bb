// What the drivers of `./just bench` have in common: the browser, and being signed in.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import tls from "node:tls";
import { chromium } from "playwright-core";

const patience = 60_000; // ms for anything to become true

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export const pause = () => 20 + Math.random() * 40; // ms before a key: frames of the screen must not keep step with them

// keyHashes are those of the public keys in the relay's chain, which the browser then accepts.
async function keyHashes(origin) {
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

/** launch starts a browser that accepts the relay at origin. */
export async function launch(origin, ...more) {
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    handleSIGINT: false,
    handleSIGTERM: false, // the end of standard input ends it
    args: [
      "--no-sandbox", "--no-first-run", "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      `--ignore-certificate-errors-spki-list=${(await keyHashes(origin)).join(",")}`, ...more,
    ],
  });
}

/** signIn gives what a page must know to be signed in. */
export async function signIn(browser, link) {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(link);
  await page.getByRole("button", { name: /^Sign in as/ }).click();
  await page.getByRole("link", { name: /^Shell on / }).waitFor();
  const state = await context.storageState();
  await context.close();
  return state;
}

/** pageOf opens one in a window of its own: what is not in front is not drawn. */
export async function pageOf(browser, options, probe, args) {
  const context = await browser.newContext(options);
  await context.addInitScript(probe, args);
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  return page;
}

/** serve answers the commands on standard input, each a line, until their end, which is the browser's. */
export async function serve(browser, answer) {
  const say = (v) => process.stdout.write(JSON.stringify(v) + "\n");
  say({ version: browser.version() });
  const lines = createInterface({ input: process.stdin });
  lines.once("close", () => void browser.close()); // nobody waits for what is under way
  for await (const line of lines) {
    const { over, do: name, ...rest } = JSON.parse(line);
    const seat = answer(over, rest);
    try {
      say(await (await seat)[name](rest));
    } catch (err) {
      const page = await seat.then((s) => s.page, () => undefined);
      const shown = await page?.evaluate(() => document.body.innerText.slice(0, 2000)).catch(() => "");
      say({ error: `${name} over ${over}: ${err.message}\nThe page ${page?.url()} shows:\n${shown}` });
    }
  }
}
