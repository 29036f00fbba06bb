// What a hostile machine prints into the terminal does nothing but show: no clipboard, no
// navigation, no byte typed into the shell that was not typed by the person, except the few fixed
// answers that programs need.
//   escapes HOME LOGIN   of the user at the far end
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { args, check, origin, same, signIn, story } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const [home, login] = args;
const ESC = "\x1b", CSI = "\x1b[", BEL = "\x07", ST = "\x1b\\";
const b64 = (s) => Buffer.from(s).toString("base64");

/** silent are those to which the terminal says nothing. */
function silent() {
  const all = [];
  const osc = (...bodies) => {
    for (const b of bodies) all.push(`${ESC}]${b}${BEL}`, `${ESC}]${b}${ST}`, `\u009d${b}\u009c`);
  };
  const dcs = (...bodies) => {
    for (const b of bodies) all.push(`${ESC}P${b}${ST}`, `\u0090${b}\u009c`);
  };
  const csi = (...bodies) => {
    for (const b of bodies) all.push(`${CSI}${b}`, `\u009b${b}`);
  };
  // The clipboard: written, read, cleared; in every selection's name.
  for (const which of ["", "c", "p", "q", "s", "0", "7", "cps01234567"]) osc(`52;${which};${b64("rm -rf /\n")}`, `52;${which};?`, `52;${which};!`);
  osc("52", "52;c", `52;c;${b64("x".repeat(5000))}`);
  // Links and addresses, of every kind that could go somewhere; and what other terminals do with files.
  for (const uri of ["javascript:alert(1)", "data:text/html,<script>alert(1)</script>", "file:///etc/passwd", "vbscript:x", "blob:https://localhost/1", "about:blank", "ssh://evil.example", "https://evil.example/", "//evil.example", "http://user:pw@evil.example:1/"]) all.push(`${ESC}]8;;${uri}${ST}link${ESC}]8;;${ST}\r\n`);
  osc("7;file://evil.example/etc", "9;note", "9;4;1;50", "9;9;C:\\", "99;i=1:d=0;hello", "777;notify;title;body", "777;precmd", "133;A", "133;D;0", "633;E;ls", "1337;File=name=eA==;inline=1:AAAA", "1337;SetUserVar=a=Yg==",
    `1337;CopyToClipboard=`, "1337;RequestAttention=yes", "1337;ReportCellSize", "1337;ReportVariable=c2Vzc2lvbi5uYW1l", "1337;OpenURL=:aHR0cHM6Ly9ldmlsLmV4YW1wbGU=", "50;?", "50;SetProfile=x", "51;e", "46;/tmp/log", "5522;type=read", "66;s=2;big", "3;WM_NAME=x", "I;icon", "L;label", "lLabel");
  // Colours asked for: the answer would hold what was set before.
  osc("4;0;?", "4;1;?;2;?", "4;255;?", "5;0;?", "10;?", "11;?", "12;?", "10;?;?;?", "13;?", "14;?", "15;?", "16;?", "17;?", "18;?", "19;?", "104", "110", "111", "112", "4;1;rgb:ff/00/00", "21;foreground=?");
  // Titles: set, stacked, asked for, and such that pretend.
  osc("0;root@bank", "1;root@bank", "2;root@bank", "2;", `2;${"x".repeat(3000)}`, "2;\u202eknab@toor", "2;\u200b\u2066root@bank\u2069", "0;a\tb\rc\nd");
  csi("21t", "20t", "22;0t", "22;1t", "22;2t", "23;0t", "23;1t", "23;2t", ">2;3t", ">0t");
  // Windows: moved, resized, asked about.
  csi("1t", "2t", "3;0;0t", "4;10;10t", "5t", "6t", "7t", "8;10;10t", "9;0t", "9;1t", "10;2t", "11t", "13t", "13;2t", "14t", "14;2t", "15t", "16t", "18t", "19t", "24t", "132t");
  // Settings, versions, capabilities, checksums, status: each answer could be shaped by the host.
  dcs("$qm", "$qr", "$q\"p", "$q\"q", "$q q", "$qs", "$qt", "$q;rm -rf /\n", "+q544e", "+q5443;436f", "+p544e", "1$r0m", "=1s", "!|00000000", "1000p", "tmux;\x1b\x1b]52;c;eA==\x07", "tmux;\x1b\x1b]2;bank\x07", "0;0;0q#0;2;0;0;0~", "q\"1;1;9999999;9999999#0!9999999~", "0p S(R)", "17;1|17/726d0d", "0;1|17/726d202d7266200d", ";rm\r", "{ @");
  csi(">q", ">0q", "=c", "=0c", "x", "0x", "1x", "?1;1;0S", "?2;1;0S", "?u", ">1u", "<u", "=1;1u", "?4m", ">4;2m", "?1m", "1;1;1;1;1;1*y", "?63;1n", "?15n", "?25n", "?26n", "?53n", "?55n", "?56n", "?62n", "?75n", "?85n", "?996n", "1$w", "2$w", "1$u", "2;1$u", "1;2'z", "1'{", "'|", "0&w", "+p", "&u", "\"v", "1\"y");
  // The answerback, the printer, the keyboard's strings, loading of characters and programs.
  all.push("\x05", "\x05\x05\x05", `${ESC}Z`, `${ESC}#8`, `${ESC}%G`, `${ESC}%@`, `${ESC} F`, `${ESC}n`, `${ESC}o`, `${ESC}|`, `${ESC}}`, `${ESC}~`, "\x0e", "\x0f", `${ESC}(0`, `${ESC}(B`);
  csi("5i", "4i", "i", "?4i", "?5i", "?1i", "?10i", "?11i");
  all.push(`${CSI}5irm -rf /\r\n${CSI}4i`);
  // Strings for the application, the operating system and nobody.
  for (const kind of ["_", "^", "X"]) all.push(`${ESC}${kind}Gf=32,s=1,v=1,a=T;AAAA${ST}`, `${ESC}${kind}${"rm -rf /\r".repeat(9)}${ST}`, `${ESC}${kind}\x18`);
  // Numbers without end, many parameters, repeats, broken sequences; what is cut goes on in the next.
  csi("999999999999999999999A", "999999999B", `${"1;".repeat(5000)}m`, "38;2;999;999;999m", "99999@", "99999P", "99999L", "99999M", "99999X", "2147483648;2147483648H", "0;0r", "5;1r", "99999S", "99999T", "?9999h", "?9999l", "1;2;3;4;5;6;7;8;9$r", "1;1;99999;99999$z", "65;1;1;99999;99999$x");
  all.push(`A${CSI}9999b`, `${ESC}]`, `${ESC}]52;c`, `${CSI}`, `${CSI}?`, `${ESC}P`, `${ESC}P$q`, "\u009b", "\u009d0;", `${ESC}]0;${ESC}]52;c;eA==${BEL}`, `${ESC}${ESC}${ESC}[21t`, "\xff\xfe", "\u202e\u2066\u200f", "\ud83d\ude00".repeat(500), "e" + "\u0301".repeat(500));
  csi("?47h", "?47l", "?1049h", "?1049l", "?3h", "?3l", "?40h", "?5h", "?5l", "?6h", "?6l", "?12h", "?25l", "?25h", "?45h", "?66h", "?66l", "?67h", "?69h", "?1034h", "?1036h", "?1039h", "?2026h", "?2026l", "?2027h", "?2031h", "?2048h", "?9001h", "20h", "20l", "2h", "2l", "4h", "4l", "12h", "12l");
  all.push(`${ESC}c`, `${CSI}!p`);
  return all;
}

// Those that are answered: with what is fixed, or a place on the screen.
const answered = [
  [`${CSI}c`, /^\x1b\[\?[\d;]+c$/], [`${CSI}0c`, /^\x1b\[\?[\d;]+c$/], [`${CSI}>c`, /^\x1b\[>[\d;]+c$/], [`${CSI}>0c`, /^\x1b\[>[\d;]+c$/],
  [`${CSI}5n`, /^\x1b\[0n$/], [`${CSI}6n`, /^\x1b\[\d+;\d+R$/], [`${CSI}?6n`, /^\x1b\[\?\d+;\d+R$/],
  [`${CSI}?2004$p`, /^\x1b\[\?2004;\d\$y$/], [`${CSI}4$p`, /^\x1b\[4;\d\$y$/], [`${CSI}?31337$p`, /^\x1b\[\?31337;0\$y$/],
];

const isolate = ESC + "\\" + "\x18" + "\x1bc"; // ends a string, a sequence, and all modes

await story(async (teller) => {
  const corpus = silent();
  check(corpus.length >= 300, `there are ${corpus.length} sequences only`);
  const context = await teller.context({ permissions: ["clipboard-read", "clipboard-write"] });
  await context.addInitScript(() => {
    // What the page does with the clipboard, windows and its title is counted.
    globalThis.deeds = [];
    globalThis.titles = new Set();
    for (const name of ["read", "readText", "write", "writeText"]) {
      const own = navigator.clipboard?.[name];
      if (own) navigator.clipboard[name] = (...a) => (globalThis.deeds.push(`clipboard.${name}`), own.apply(navigator.clipboard, a));
    }
    for (const [o, name] of [[globalThis, "open"], [globalThis, "alert"], [globalThis, "print"], [globalThis, "Notification"], [Document.prototype, "execCommand"], [globalThis, "resizeTo"], [globalThis, "moveTo"]]) {
      o[name] = () => void globalThis.deeds.push(name);
    }
    new MutationObserver(() => globalThis.titles.add(document.title)).observe(document, { subtree: true, childList: true, characterData: true });
  });
  const page = await context.newPage();
  await signIn(page);
  const t = await Terminal.open(page);
  const popups = [], moves = [], foreign = [];
  context.on("page", (p) => popups.push(p.url()));
  page.on("framenavigated", (f) => moves.push(f.url()));
  page.on("dialog", (d) => (popups.push(d.message()), d.dismiss()));
  context.on("request", (r) => new URL(r.url()).origin !== origin && foreign.push(r.url()));
  page.on("download", (d) => moves.push(d.url()));
  await page.evaluate(() => globalThis.titles.clear());

  // The far shell prints a file byte by byte as it is, and keeps what it reads until the person types "~".
  await t.run("p() { stty raw -echo; cat $1; printf '\\033\\\\\\030\\033cprinted-%s' $((1+1)); while :; do dd bs=65536 count=1 2>/dev/null | tee -a $1.got | grep -q '~' && break; done; stty sane; echo; }");
  const told = async (name, sequences) => {
    const file = join(home, name);
    writeFileSync(file, sequences.map((s) => s + isolate).join(""));
    await t.run(`clear; p ${name}`);
    await t.shows(/printed-2/);
    await page.keyboard.type("~");
    await t.shows(/\$$/);
    return (await t.answer(`od -An -v -tx1 ${name}.got | tr -d ' \\n'; echo`)).replace(/\n/g, "").trim();
  };
  const text = (hex) => Buffer.from(hex, "hex").toString("latin1");
  // In parts, so that a failure names few.
  const part = 60;
  for (let i = 0; i < corpus.length; i += part) {
    const got = text(await told(`hostile-${i}`, corpus.slice(i, i + part)));
    same(got, "~", `what the far shell read while it printed the sequences from ${i} on`);
    check(page.url().startsWith(`${origin}/scrier/`), `the page went to ${page.url()}`);
  }
  for (const [i, [sequence, answer]] of answered.entries()) {
    const got = text(await told(`asked-${i}`, [sequence]));
    check(got.endsWith("~") && answer.test(got.slice(0, -1)), `to ${JSON.stringify(sequence)} the terminal answers ${JSON.stringify(got)}`);
  }

  same(await page.evaluate(() => globalThis.deeds), [], "what the page did");
  same([popups, moves, foreign], [[], [], []], "windows, navigations and requests to others");
  const titles = await page.evaluate(() => [...globalThis.titles]);
  check(titles.length > 1, "no title was ever set");
  for (const title of titles) check(title === `${login}@web1` || title.startsWith(`${login}@web1 — `), `the title was ${JSON.stringify(title)}`);
  check(!titles.some((s) => /[\u200b-\u200f\u202a-\u202e\u2066-\u2069]/.test(s)), "a title had characters that are not seen");

  // A link asks before it goes, and only where there is a page; others are no links.
  await t.run("clear; printf '\\033]8;;javascript:alert(1)\\033\\\\aaaa\\033]8;;\\033\\\\ \\033]8;;https://evil.example/x\\033\\\\bbbb\\033]8;;\\033\\\\\\n'");
  await t.shows(/aaaa bbbb\n/);
  const box = await page.locator(".xterm-rows > div", { hasText: "aaaa bbbb" }).last().boundingBox();
  const cell = await page.locator(".xterm-screen").evaluate((e) => e.clientWidth) / Number((await page.getByRole("contentinfo").textContent()).match(/(\d+)×/)[1]);
  const click = async (column) => {
    await page.mouse.move(box.x + cell * (column - 0.5), box.y + box.height / 2);
    await page.mouse.move(box.x + cell * column, box.y + box.height / 2);
    await page.mouse.click(box.x + cell * column, box.y + box.height / 2);
  };
  await click(2);
  await click(7);
  await page.getByRole("heading", { name: "Open a page of evil.example?" }).waitFor();
  same(await page.getByRole("dialog").count(), 1, "dialogs");
  await page.getByRole("button", { name: "Cancel" }).click();
  same([popups, moves, foreign], [[], [], []], "windows, navigations and requests to others");
  same(await t.answer("echo alive-$((1+1))"), "alive-2", "the shell afterwards");
  console.log(`${corpus.length} sequences did nothing, ${answered.length} got their fixed answer`);
});
