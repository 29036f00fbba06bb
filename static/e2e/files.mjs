// Files of a machine, beside its terminal:
//   files HOME
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { look } from "./look.mjs";
import { arrived, ours, Pane, sum, tree, unzip } from "./pane.mjs";
import { args, check, same, scrier, signIn, story, until, work } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const [home] = args;

await story(async (teller) => {
  teller.allow(/status of 409/, /status of 403/, /status of 400/); // names that are taken, and what the machine refuses
  const page = await teller.page({ viewport: { width: 1200, height: 760 }, reducedMotion: "reduce" });
  await signIn(page);
  const t = await Terminal.open(page);
  const session = t.session;
  same(await t.answer("pwd"), home, "the home");

  // Beside the terminal: the home of the same session.
  writeFileSync(join(home, "hello.txt"), "hello\n");
  await page.getByRole("button", { name: "Files", exact: true }).click();
  const pane = new Pane(page);
  await pane.has("hello.txt");
  same(await page.evaluate(() => document.activeElement.getAttribute("role")), "grid", "what has the focus");
  await look(page, "beside");

  // Dropped: files of many sizes, a tree with an empty folder, a name of another alphabet; the bytes and times are theirs.
  const time = new Date("2021-05-06T07:08:09Z");
  const files = [0, 1, 524_287, 524_288, 3_000_001].map((n) => ours(`f${n} data.bin`, n, time));
  ours("tree/a/b/deep.txt", "deep", time);
  ours("tree/grüße 日本.txt", "x", time);
  mkdirSync(join(work, "ours", "tree", "empty"), { recursive: true });
  await pane.drop([...files, join(work, "ours", "tree")]);
  await pane.uploaded();
  for (const f of files) await arrived(join(home, f.slice(f.lastIndexOf("/") + 1)), f);
  same(await tree(join(home, "tree")), await tree(join(work, "ours", "tree")), "the tree");
  await pane.has("f524288 data.bin", "tree");
  await pane.dismiss();
  await t.focus();
  same(await t.answer("ls tree | wc -l"), "3", "what the shell sees of it");
  same(JSON.parse(await scrier("sessions", "list", "--json")).map((s) => s.id), [session], "the open sessions");

  // Downloads: a file, and a folder as a zip.
  await pane.list.focus();
  await page.keyboard.type("f3000001");
  const one = await pane.download(() => page.keyboard.press("Enter"));
  same([one.name, await sum(one.path)], ["f3000001 data.bin", await sum(files[4])], "a downloaded file");
  await pane.row("tree").click();
  const zip = await pane.download(() => pane.tool("Download").click());
  const packed = unzip(zip.path);
  const want = await tree(join(work, "ours", "tree"));
  for (const [name, what] of Object.entries(want)) same(packed[`tree/${name}`], what, `${name} in the zip`);

  // With keys alone: a new folder, into it, back, another name, gone.
  await pane.tool("New folder").focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("made here");
  await page.keyboard.press("Enter");
  await until("the new folder", async () => (await pane.active()) === "made here");
  check(statSync(join(home, "made here")).isDirectory(), "there is no new folder");
  await page.keyboard.press("Enter");
  await page.getByText("This folder is empty.").waitFor();
  await page.keyboard.press("Backspace");
  await until("the way back", async () => (await pane.active()) === "made here");
  await page.keyboard.press("F2");
  await pane.dialog("Rename made here").waitFor();
  await page.keyboard.type("hello.txt");
  await page.keyboard.press("Enter");
  await pane.dialog("Rename made here").getByText("There is one of this name already.").waitFor();
  await page.keyboard.press("Control+A");
  await page.keyboard.type("renamed");
  await page.keyboard.press("Enter");
  await until("the other name", async () => (await pane.active()) === "renamed");
  check(existsSync(join(home, "renamed")) && !existsSync(join(home, "made here")), "it was not renamed");
  writeFileSync(join(home, "renamed", "inside"), "x");
  await page.keyboard.press("Delete");
  await pane.dialog("Delete renamed?").getByRole("button", { name: "Delete" }).click();
  await until("it is gone", () => !existsSync(join(home, "renamed")));
  await pane.row("renamed").waitFor({ state: "detached" });
  same(await page.evaluate(() => document.activeElement.getAttribute("role")), "grid", "what has the focus after a deletion");

  // Names that mislead are shown as what they are, and are deleted as what they are.
  const names = ["evil\u202egnp.exe", "<img src=x onerror=alert(1)>", "line\nbreak\ttab", "x".repeat(251) + ".txt"];
  folder("names", 0o777);
  for (const n of names) writeFileSync(join(home, "names", n), n);
  const raw = Buffer.concat([Buffer.from(join(home, "names") + "/bad"), Buffer.from([0xff, 0xfe])]);
  writeFileSync(raw, "raw");
  symlinkSync(join(home, "tree"), join(home, "names", "to-tree"));
  symlinkSync("nowhere", join(home, "names", "to-nothing"));
  await pane.tool("New folder").focus(); // whatever has the focus: the list is read anew
  await page.getByRole("button", { name: "Refresh" }).click();
  await pane.row("names").dblclick();
  await pane.has("evil<U+202E>gnp.exe", "<img src=x onerror=alert(1)>", "line^Jbreak^Itab", "bad\ufffd");
  await look(page, "names");
  for (const [shown, there] of [["evil<U+202E>", join(home, "names", names[0])], ["bad", raw], ["line^Jbreak", join(home, "names", names[2])], ["to-tree", join(home, "names", "to-tree")]]) {
    await pane.row(shown).click();
    await page.keyboard.press("Delete");
    await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
    await until(`${shown} is gone`, () => !has(there));
    await pane.row(shown).waitFor({ state: "detached" });
  }
  check(existsSync(join(home, "tree", "a")), "a link was followed to what it leads to");
  await pane.row("xxx").click();
  const long = await pane.download(() => page.keyboard.press("Enter"));
  same(readFileSync(long.path, "utf8"), names[3], "the file with the long name");
  await page.keyboard.press("Backspace");

  // A name that is taken is asked about once: both, then replaced.
  await pane.has("hello.txt");
  const [hello, second] = [ours("hello.txt", "mine\n"), ours("f1 data.bin", 77)];
  await pane.drop([hello, second, ours("free.txt", "free")]);
  const clash = page.getByRole("dialog", { name: /is there already/ });
  await clash.waitFor();
  await look(page, "clash", clash);
  await clash.getByLabel("Do the same for all that follow").check();
  await clash.getByRole("button", { name: "Keep both" }).click();
  await pane.uploaded();
  same([read("hello.txt"), read("hello (2).txt"), read("free.txt"), size("f1 data.bin"), size("f1 data (2).bin")], ["hello\n", "mine\n", "free", 1, 77], "both");
  await pane.dismiss();
  await pane.drop([hello]);
  await clash.getByRole("button", { name: "Replace" }).click();
  await pane.uploaded();
  same(read("hello.txt"), "mine\n", "replaced");
  await pane.dismiss();

  // What the machine refuses is listed at the end, and the rest goes on.
  ours("mixed/locked/no.txt", "no");
  ours("mixed/yes.txt", "yes");
  folder("mixed", 0o777);
  folder("mixed/locked", 0o755);
  await pane.drop([join(work, "ours", "mixed")]);
  await pane.uploaded(/uploaded, 1 failed\./);
  same(read("mixed/yes.txt"), "yes", "what could be written");
  const failed = pane.transfers.getByRole("list", { name: "What failed" });
  check(/mixed\/locked\/no\.txt/.test(await failed.textContent()), `what failed: ${await failed.textContent()}`);
  await look(page, "failed");
  chmodSync(join(home, "mixed", "locked"), 0o777);
  await pane.transfers.getByRole("button", { name: "Try these again" }).click();
  await until("the second try", () => existsSync(join(home, "mixed", "locked", "no.txt")));
  await pane.uploaded();
  await pane.dismiss();

  function folder(name, mode) {
    mkdirSync(join(home, name));
    chmodSync(join(home, name), mode);
  }

  function read(name) {
    return readFileSync(join(home, name), "utf8");
  }

  function size(name) {
    return statSync(join(home, name)).size;
  }
});

function has(path) {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
