// Files, on the drive of an RDP desktop:
//   desktop_drive PORT LOGIN PASSWORD HOME
import { createHash, randomBytes } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { args, check, link, origin, same, scrier, signIn, story, until, work } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";
import { Path } from "./path.mjs";

const [port, login, password, home] = args;
const loginTime = 60_000; // ms that a first login may take until there is a desktop
const uploadTime = 100_000; // ms for 50 MB on a busy machine

const sizes = [0, 1, 6047, 6048, 6049, 12_096, 48_384, 48_385, 100_000, 300_000, 300_001, 300_002, 300_003, 604_800, 604_801, 700_000, 1_000_000, 1_500_000, 2_000_000, 50_000_000];

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /net::ERR_/, /WebSocket connection .* failed/, /WebTransport/);
  const path = await Path.open(process.env.RELAY);
  const page = await teller.page({ viewport: { width: 1100, height: 700 } });
  await signIn(page, link.replace(origin, path.origin));
  const d = new Desktop(page, home);
  await d.go({ protocol: "rdp", port }, path.origin);
  const form = page.getByRole("form", { name: /Remote desktop on/ });
  await form.getByLabel("User name").fill(login);
  await form.getByLabel("Password").fill(password);
  await form.getByRole("button", { name: "Connect" }).click();
  await d.connected(loginTime);
  const [width, height] = await d.size();
  await d.shows(width - 20, height - 20, ground, { near: 8, time: loginTime });
  await d.focus(400, 400);
  const { session } = d;
  const drive = join(work, "drive", session);
  const pane = page.getByRole("complementary", { name: "Files" });
  const button = page.getByRole("button", { name: "Files", exact: true });

  await button.waitFor();

  // Dropped on the picture: all arrive as they are, and the desktop is as it was.
  const files = sizes.map((n, i) => ours(`f${i} data.bin`, n));
  await drop(page, files);
  await pane.getByText("f0 data.bin is there.").waitFor();
  await arrived(files, drive);
  same(await d.answer("echo alive-$((1+1))"), "alive-2", "the answer behind the uploads");
  await pane.getByText("Uploading").waitFor({ state: "detached" });

  // A download has the same bytes.
  await taken("f12 data.bin", files[12]);

  // Cancelled in the middle; the one behind it arrives.
  const large = ours("large.bin", 20_000_000);
  const behind = ours("behind.bin", 300_000);
  await drop(page, [large, behind]);
  await until("a part of it is there", () => size(join(drive, "large.bin")) > 500_000);
  await pane.getByRole("button", { name: "Cancel large.bin" }).click();
  await pane.getByText(/large\.bin was cancelled\. The first .* bytes of it are there\./).waitFor();
  await arrived([behind], drive);
  check(size(join(drive, "large.bin")) < 20_000_000, "the cancelled file is whole");
  await pane.getByRole("button", { name: "Dismiss" }).click();

  // A name that no drive takes fails alone.
  await drop(page, [ours("a\\b.txt", 10), ours("c.txt", 10)]);
  await pane.getByText(/was not taken: its name has characters/).waitFor();
  await arrived([join(work, "ours", "c.txt")], drive);
  await pane.getByRole("button", { name: "Dismiss" }).click();

  // A reload: guacd has shown the drive once, to somebody else. It is listed, gives and takes all the same.
  await page.reload();
  await d.connected();
  same(d.session, session, "the session after a reload");
  await button.click();
  await taken("f12 data.bin", files[12]);
  const later = ours("later.bin", 1_000_000);
  await drop(page, [later]);
  await pane.getByText("later.bin is there.").waitFor({ timeout: uploadTime });
  await arrived([later], drive);

  // The connection is lost in the middle: what was on its way begins anew, and arrives whole.
  const twice = ours("twice.bin", 8_000_000);
  await drop(page, [twice, ours("after.bin", 300_000)]);
  await until("a part of it is there", () => size(join(drive, "twice.bin")) > 500_000);
  path.cut();
  await page.getByText("No connection to the relay; trying again.", { exact: false }).waitFor();
  await pane.getByText("twice.bin waits for the connection").waitFor();
  check(size(join(drive, "twice.bin")) < 8_000_000, "the file is whole before the connection is lost");
  path.mend();
  await d.connected();
  await pane.getByText("after.bin is there.").waitFor({ timeout: uploadTime });
  await arrived([twice, join(work, "ours", "after.bin")], drive);
  await d.focus(400, 400);
  same(await d.answer("echo alive-$((2+1))"), "alive-3", "the answer at the end");

  // Who only watches gets the picture, and no files.
  const watcher = await page.context().newPage();
  const [{ id }] = JSON.parse(await scrier("envoys", "list", "--json"));
  await watcher.goto(`${path.origin}/scrier/${id}?${new URLSearchParams({ protocol: "rdp", session, watch: "1" })}`);
  const [w, h] = await d.size();
  await new Desktop(watcher).shows(w - 20, h - 20, ground, { near: 8 });
  check(!(await watcher.getByRole("button", { name: "Files", exact: true }).isVisible()), "a watcher has the drive");
  await until("a watcher hears why nothing can be dropped", async () => {
    await drag(watcher, [later], "dragEnter", "dragOver");
    return watcher.getByText("Files cannot be uploaded to this desktop.").isVisible();
  });
  check(await button.isVisible(), "the button for files has gone");

  async function taken(name, from) {
    const [download] = await Promise.all([page.waitForEvent("download"), pane.getByRole("button", { name: `Download ${name}` }).click()]);
    same(await sum(await download.path()), await sum(from), `${name}, downloaded`);
  }
});

// ours makes a file of ours.
function ours(name, size) {
  mkdirSync(join(work, "ours"), { recursive: true });
  const to = join(work, "ours", name);
  writeFileSync(to, randomBytes(size));
  return to;
}

/** drag drags files of this machine over the middle of the page. */
async function drag(page, files, ...types) {
  const client = await page.context().newCDPSession(page);
  const { width, height } = page.viewportSize();
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of types) await client.send("Input.dispatchDragEvent", { type, x: width / 3, y: height / 2, data });
  await client.detach();
}

/** drop lets go of them there. */
function drop(page, files) {
  return drag(page, files, "dragEnter", "dragOver", "drop");
}

/** arrived waits until the drive has files that are the same, byte by byte. */
async function arrived(files, drive) {
  for (const f of files) {
    const to = join(drive, f.slice(f.lastIndexOf("/") + 1));
    await until(`${to} is there`, () => size(to) === statSync(f).size, uploadTime);
    same(await sum(to), await sum(f), to);
  }
}

function size(path) {
  return existsSync(path) ? statSync(path).size : -1;
}

async function sum(path) {
  const h = createHash("sha256");
  for await (const b of createReadStream(path)) h.update(b);
  return h.digest("hex");
}
