// Behind more output than is kept, whoever attaches has the screen as it is, and what programs have switched long ago.
import { check, patience, same, scrier, signIn, story, until } from "./story.mjs";
import { Program } from "./program.mjs";
import { Terminal } from "./terminal.mjs";

const much = 2 << 20; // bytes

await story(async (teller) => {
  const page = await teller.page();
  await signIn(page);
  const t = await Terminal.open(page);
  const { session } = t;
  const received = async () => JSON.parse(await scrier("sessions", "list", "--json")).find((s) => s.id === session).received;
  const grows = async (by) => {
    const before = await received();
    return () => until(`${by} bytes of output`, async () => (await received()) - before > by);
  };

  // A program that has switched nearly everything, and then prints on.
  let grown = await grows(much);
  await t.run("clear; printf '\\033[?1049h\\033[?1h\\033=\\033[?2004h\\033]0;a title\\007\\033[2;9r'; seq 400000; printf '\\033[r\\033[H\\033[J\\033[3;3Hpain\\033[31mted\\033[m\\033[5;1H'; cat -v");
  await t.shows(/painted/);
  await grown();
  const shown = await t.screen();
  await page.reload();
  await t.connected();
  await t.shows(/painted/);
  same(await t.screen(), shown, "the screen after a reload");
  await until("the title", async () => (await page.title()).includes("a title"));
  await t.focus();
  await t.key("ArrowUp");
  await t.shows(/\^\[OA/);
  const cli = new Program("scrier", "ssh", "--attach", session);
  await cli.shows(/painted|pain.*ted/);
  for (const mode of ["\x1b[?1h", "\x1b[?1049h", "\x1b[?2004h", "\x1b="]) check(cli.seen.includes(mode), `the terminal is not told ${JSON.stringify(mode)}`);
  await page.getByRole("button", { name: "Take it back" }).click();
  await t.connected();
  await cli.status;
  await t.focus();
  await t.key("Control+c");
  await t.run("printf '\\033[?1049l\\033[?1l\\033>\\033[?2004l\\033]0;\\007'; echo back-$((1+1))");
  await t.shows(/back-2/);

  // vim, and less, which keep the screen that the shell had.
  grown = await grows(much);
  await t.run("clear; echo before-$((1+1)); seq -f 'line %g of the file that vim shows, in which every line is as long as this one' 300 > file; vim -u NONE -N -n file");
  await t.shows(/line 1 of the file/);
  await t.run(":set number");
  await t.run(":200");
  await t.shows(/200 line 200/);
  await t.run(":for i in range(1500) | redraw! | endfor | echo 'drawn' 1+1");
  await t.shows(/drawn 2/, 2 * patience);
  await grown();
  await t.key("j");
  await t.shows(/201 line 201/);
  let stands = await t.screen();
  await page.reload();
  await t.connected();
  await t.shows(/201 line 201/);
  await t.focus();
  await t.key("ArrowUp");
  await t.key("ArrowDown");
  await t.run(":echo 'line ' . line('.') . ' it is'");
  await t.shows(/line 201 it is/);
  same((await t.screen()).split("\n").slice(0, -1).join("\n"), stands.split("\n").slice(0, -1).join("\n"), "vim's screen after a reload");
  await t.run(":q!");
  await t.shows(/before-2[^]*\$$/);

  grown = await grows(much);
  await t.run("clear; seq -f 'line %g of a long file, in which every line is as long as this one is' 60000 | less");
  await t.shows(/line 1 of/);
  await t.run("/line 40000 of"); // less reads on
  await t.shows(/line 40000 of/);
  for (let i = 0; (await received()) < much * 4 && i < 4; i++) await t.run("1000000"); // each of them scrolls
  await t.shows(/line 60000 of[^]*\(END\)/); // it has come to rest
  stands = await t.screen();
  await page.reload();
  await t.connected();
  await until("less's screen after a reload", async () => (await t.screen()) === stands);
  await t.focus();
  await t.key("q");
  await t.shows(/\$$/);
});
