// What all stories share: the browser, its log, and what no story allows. A story is a program; it
// gets where the relay is and a sign-in link in its environment (stories/browser_test.go) and fails with
// the first thing that is not as it should be.
import { createHash } from "node:crypto";
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import tls from "node:tls";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const need = (name) => process.env[name] || quit(`${name} is not set: stories are run by \`go test -run 'TestScript/^web' ./stories\``);

function quit(why) {
  console.error(why);
  process.exit(2);
}

export const origin = need("ORIGIN");
export const link = process.env.LINK ?? "";
export const work = need("WORK");
export const args = process.argv.slice(2);

export const patience = 30_000; // ms for anything to become true
const storyTime = 140_000; // ms for all of a story

/** scrier runs the program as the script's operator, and gives what it printed. */
export async function scrier(...argv) {
  return (await promisify(execFile)("scrier", argv)).stdout;
}

/** check fails the story unless it is true. */
export function check(ok, what) {
  if (!ok) throw new Error(what);
}

export function same(got, want, what) {
  const [g, w] = [got, want].map((v) => JSON.stringify(v));
  check(g === w, `${what}: ${g}, not ${w}`);
}

/** until polls until the function gives something, which is the result. */
export async function until(what, f, time = patience) {
  const end = Date.now() + time;
  for (;;) {
    const v = await f();
    if (v) return v;
    if (Date.now() > end) throw new Error(`${what}: not within ${time / 1000} s`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** signIn opens the link, and ends on the page that the role begins with. */
export async function signIn(page, by = link) {
  await page.goto(by);
  await page.getByRole("button", { name: /^Sign in as/ }).click();
  await page.getByRole("button", { name: "Not now" }).click();
  await page.getByRole("navigation", { name: "Pages" }).waitFor();
}

/** sign gives a dialog the signature that it asks for: with the command that it shows, and the key in the operator's home, or another's. */
export async function sign(page, home = process.env.HOME) {
  const dialog = page.getByRole("dialog", { name: /^(Sign this change|Add or prove an SSH key)/ });
  const command = await dialog.locator("sc-copy code").textContent();
  const { stdout } = await promisify(execFile)("sh", ["-c", command], { env: { ...process.env, HOME: home } });
  await dialog.getByLabel("What it prints").fill(stdout);
  await dialog.getByRole("button", { name: "Go on" }).click();
  await dialog.waitFor({ state: "detached" });
}

// keyHashes are those of the public keys in the relay's chain: the browser accepts them like a
// certificate that it knows, without which there are no passkeys.
async function keyHashes() {
  const { port } = new URL(origin);
  const socket = tls.connect({ host: "127.0.0.1", port, servername: "localhost", rejectUnauthorized: false, ALPNProtocols: ["http/1.1"] });
  await new Promise((done, failed) => socket.once("secureConnect", done).once("error", failed));
  const hashes = [];
  for (let cert = socket.getPeerX509Certificate(); cert; cert = cert.issuerCertificate) {
    hashes.push(createHash("sha256").update(cert.publicKey.export({ type: "spki", format: "der" })).digest("base64"));
  }
  socket.destroy();
  return hashes;
}

// forwarder is the relay's TCP port on a network where the relay is not: what it takes goes through
// a Unix socket.
async function forwarder(path) {
  const server = net.createServer((near) => {
    const far = net.connect(path);
    near.pipe(far).pipe(near);
    for (const [a, b] of [[near, far], [far, near]]) a.on("error", () => b.destroy()).on("close", () => b.destroy());
  });
  await new Promise((done) => server.listen(Number(new URL(origin).port), "127.0.0.1", done));
  server.unref();
}

async function startChromium(webgl, flags) {
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    env: { ...process.env, LC_ALL: "C.UTF-8" }, // else it opens no file whose name is not ASCII
    args: [
      "--no-sandbox", "--no-first-run", "--no-proxy-server", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      `--ignore-certificate-errors-spki-list=${(await keyHashes()).join(",")}`,
      "--host-resolver-rules=MAP localhost 127.0.0.1", // the relay of a test listens there alone
      ...(webgl ? [] : ["--disable-3d-apis"]),
      ...flags,
    ],
  });
}

/**
 * story runs one. tell gets a Teller. Without webgl, terminals are drawn as elements whose text can
 * be read; flags are more of the browser's own.
 */
export async function story(tell, { webgl = false, flags = [] } = {}) {
  if (process.env.FORWARD) await forwarder(process.env.FORWARD);
  const browser = await startChromium(webgl, flags);
  const teller = new Teller(browser);
  let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error(`the story is not over within ${storyTime / 1000} s`)), storyTime);
    process.once("SIGTERM", () => failed(new Error("the story was told to end")));
  });
  try {
    await Promise.race([tell(teller), late]);
    teller.clean();
  } catch (err) {
    console.error(err.stack ?? err);
    await teller.evidence();
    process.exitCode = 1;
  } finally {
    clearTimeout(timer);
    await browser.close();
  }
  process.exit();
}

/** Teller opens pages and watches them. */
class Teller {
  log = [];
  faults = [];
  allowed = [];
  contexts = [];

  constructor(browser) {
    this.browser = browser;
  }

  /** allow says that a message on the console is meant to be there in this story. */
  allow(...patterns) {
    this.allowed.push(...patterns);
  }

  /** context is a browser of its own: no cookies, nothing stored. */
  async context(options = {}) {
    const c = await this.browser.newContext({ viewport: { width: 1100, height: 700 }, ...options });
    c.setDefaultTimeout(patience);
    this.contexts.push(c);
    await c.addInitScript(() => document.addEventListener("securitypolicyviolation", (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`)));
    c.on("console", (m) => this.note(`console ${m.type()}: ${m.text()} (${m.location().url})`, m.type() === "error"));
    c.on("weberror", (e) => this.note(`error: ${e.error().stack}`, true));
    c.on("response", (r) => this.note(`${r.request().method()} ${r.status()} ${r.url()}`));
    c.on("requestfailed", (r) => this.note(`${r.method()} failed ${r.url()}: ${r.failure()?.errorText}`));
    return c;
  }

  async page(options) {
    return (await this.context(options)).newPage();
  }

  note(line, fault = false) {
    this.log.push(`${new Date().toISOString().slice(11, 23)} ${line}`);
    if (fault && !this.allowed.some((p) => p.test(line))) this.faults.push(line);
  }

  /** clean fails when a page said something that it must not. */
  clean() {
    check(this.faults.length === 0, `the pages' console has errors:\n${this.faults.join("\n")}`);
  }

  /** evidence leaves pictures and the log in the script's folder, and prints the log's end. */
  async evidence() {
    let n = 0;
    for (const c of this.contexts) {
      for (const p of c.pages()) {
        n++;
        await p.screenshot({ path: join(work, `browser-${n}.png`), timeout: 5000 }).catch(() => {});
        const text = await p.evaluate(() => document.body.innerText.slice(0, 4000)).catch(() => "");
        console.error(`page ${n}, ${p.url()}:\n${text}\n`);
      }
    }
    writeFileSync(join(work, "browser.log"), this.log.join("\n") + "\n");
    console.error(`the browser's log ends:\n${this.log.slice(-40).join("\n")}`);
    console.error(`pictures and the log are in ${work} (keep it with go test -testwork)`);
  }
}
