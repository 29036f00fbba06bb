// A shell in the page, over whatever carries it:
//   shell TRANSPORT [nowebtransport]
import { args, check, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const [transport, without] = args;

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//);
  const page = await teller.page({ viewport: { width: 800, height: 500 } });
  if (without) await page.addInitScript(() => delete globalThis.WebTransport);
  await signIn(page);
  const t = await Terminal.open(page);
  const cdp = await page.context().newCDPSession(page);
  await t.status(new RegExp(transport));
  check(/^scr[a-z]+@web1$/.test(await page.title()), `the title is ${await page.title()}`);

  // Computed by the far shell, so that no echo passes for an answer.
  same(await t.answer("echo $((6*7)) $TERM; id -un"), `42 xterm-256color\n${(await page.title()).split("@")[0]}`, "the answer");

  // The size is the page's, and follows it.
  const size = async () => (await page.getByRole("contentinfo").textContent()).match(/(\d+)×(\d+)/).slice(1).map(Number);
  const [cols, rows] = await size();
  same(await t.answer("stty size"), `${rows} ${cols}`, "stty size");
  await page.setViewportSize({ width: 700, height: 450 });
  await until("the status line's size", async () => (await size())[0] < cols);
  const [fewer, lower] = await size();
  await t.run(`clear; until [ "$(stty size)" = "${lower} ${fewer}" ]; do :; done; echo resized-$((1+1))`);
  await t.shows(/^resized-2$/m);

  // Characters of one to four bytes, wide ones, and some that are made of several, both ways.
  await t.run("r() { clear; printf 'ready-%s\\n' $1; read -r line; printf 'shown:%s:\\n' \"$line\"; printf %s \"$line\" | od -An -v -tx1 | tr -d ' \\n'; echo :end-$((1+1)); }");
  for (const [i, text] of ["grüße", "日本語", "🎉", "e\u0301", "👩‍👩‍👧", "🇩🇪", "👍🏽"].entries()) {
    const bytes = [...new TextEncoder().encode(text)].map((b) => b.toString(16).padStart(2, "0"));
    await t.run(`r $((${i}+1))`);
    await t.shows(new RegExp(`^ready-${i + 1}$`, "m"));
    // As an input method gives it.
    await cdp.send("Input.imeSetComposition", { text, selectionStart: text.length, selectionEnd: text.length });
    await page.keyboard.insertText(text);
    await until(`the echo of ${text}`, async () => (await t.screen()).includes(text));
    await t.key("Enter");
    const [all] = await t.shows(/shown:[^]*:end-2/);
    check(all.includes(bytes.join("") + ":end-2"), `the bytes of ${text} are ${bytes.join("")}, the shell read: ${all}`);
    check(all.includes(`shown:${text}:`), `the shell's ${text} is shown as: ${all}`);
  }

  // Keys that are no characters.
  await t.run("clear; echo sleeping-$((1+1)); sleep 1000");
  await t.shows(/sleeping-2/);
  await t.key("Control+c");
  await t.shows(/\$$/);
  await t.run("clear; echo cat-$((1+1)); cat -v");
  await t.shows(/^cat-2$/m);
  for (const k of ["ArrowUp", "F5", "Alt+x", "Escape", "|", "Enter"]) await t.key(k);
  await t.shows(/(\^\[\[A\^\[\[15~\^\[x\^\[\|\s?){2}/);
  await t.key("Control+d");
  await t.shows(/\$$/);

  await t.run("exit 7");
  await page.getByRole("heading", { name: "The shell ended with status 7." }).waitFor();
});
