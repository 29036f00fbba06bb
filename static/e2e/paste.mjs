// Large and hostile pastes, and a shell that writes faster than the page reads.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { check, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const pasted = 100_000_000; // characters, each a byte
const slack = 48; // MiB that the relay may grow by: a session holds 1 MiB of output and 256 KiB of input
const slower = 6; // times, for the slow page

// resident is how much memory the relay has, in MiB.
const resident = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${process.env.RELAY_PID}/status`, "utf8"))[1]) / 1024;

await story(async (teller) => {
  const page = await teller.page();
  await signIn(page);
  const t = await Terminal.open(page);

  // Several lines are shown first; Cancel sends none, Paste all of them.
  await t.run("clear; echo cat-$((1+1)); cat -v");
  await t.shows(/^cat-2$/m);
  await t.paste("one\ntwo\x1b[31m\n");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("heading", { name: "Paste 2 lines?" }).waitFor();
  check((await dialog.textContent()).includes("1 control character"), "the dialog does not tell of the control character");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await t.paste("three\nfour\n");
  await dialog.getByRole("button", { name: "Paste" }).click();
  await until("the lines and their echo", async () => (await t.screen()).match(/^(three|four)$/gm)?.length === 4);
  await t.paste("five"); // one line is not asked about
  await t.key("Enter");
  await t.shows(/^five\nfive$/m);
  check(!/one|two/.test(await t.screen()), "a paste that was cancelled was sent");
  await t.key("Control+d");
  await t.shows(/\$$/);

  // Bracketed, where the shell asks for it, and not to be left from inside.
  await t.run("clear; printf '\\033[?2004h'; stty -echo -icanon; echo ready-$((1+1)); head -c 19 | cat -v; stty sane; printf '\\033[?2004l'");
  await t.shows(/ready-2/);
  await t.paste("x\x1b[201~y");
  await dialog.getByRole("button", { name: "Paste" }).click();
  await t.shows(/\^\[\[200~x\[201~y\^\[\[201~/);
  await t.shows(/\$$/);

  // 100 MB arrive as they are.
  const before = resident();
  let most = before;
  const meter = setInterval(() => (most = Math.max(most, resident())), 50);
  await t.run(`clear; stty raw -echo; printf 'ready-%s\\r\\n' $((1+1)); head -c ${pasted} | sha256sum; stty sane`);
  await t.shows(/ready-2/);
  const want = await page.evaluate(async (size) => {
    const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/";
    let block = "";
    for (let i = 0, x = 1; i < 100_003; i++) block += letters[(x = (x * 48271) % 2147483647) % 64]; // no multiple of any buffer
    const text = block.repeat(Math.ceil(size / block.length)).slice(0, size);
    const data = new DataTransfer();
    data.setData("text/plain", text);
    const at = document.querySelector(".xterm-helper-textarea");
    at.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    return [...new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)))].map((b) => b.toString(16).padStart(2, "0")).join("");
  }, pasted);
  await page.getByText(/^Pasting .* of 100\.0 M/).waitFor();
  const [, got] = await t.shows(/([0-9a-f]{64})  -/, 100_000);
  same(got, want, "the checksum of what was pasted");
  await t.shows(/\$$/);

  // A shell that floods a page that is slow: the relay does not grow, and Ctrl-C is heard.
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: slower });
  await t.run("clear; yes 0123456789012345678901234567890123456789");
  const flood = Date.now() + 4000;
  await until("the flood", () => Date.now() > flood);
  const pressed = Date.now();
  await t.key("Control+c");
  await t.shows(/\$$/);
  const took = Date.now() - pressed;
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: 1 });
  same(await t.answer("echo alive-$((1+1))"), "alive-2", "the shell after the flood");
  clearInterval(meter);
  console.log(`the relay had ${before.toFixed(0)} MiB, and ${most.toFixed(0)} at most; the prompt was back ${took} ms after Ctrl-C`);
  check(most - before < slack, `the relay grew from ${before.toFixed(0)} to ${most.toFixed(0)} MiB`);
});
