// WebTransport in a network that carries no UDP at first, and carries it later: the session moves there as it is.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { check, link, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const sh = (...argv) => promisify(execFile)("sh", argv);
const last = 3000; // what the counter counts to

await story(async (teller) => {
  // What Chromium says of a WebTransport that gets no answer.
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /net::ERR_/, /WebTransport/);
  const page = await (await teller.context()).newPage();
  await signIn(page, link);
  const t = await Terminal.open(page);
  await t.status(/WebSocket/);
  const { session } = t;
  await t.run(`clear; for i in $(seq ${last}); do echo n$i.; sleep 0.005; done; read -r line; echo "<$line>"`);
  await t.shows(/n100\./);

  // UDP comes through, and the machine gets another address, of which the browser hears. Keys are typed all the while.
  let move = true;
  let typed = "";
  const typing = (async () => {
    for (let i = 0; move && i < 400; i++) {
      const c = String.fromCharCode(97 + (i % 26));
      typed += c;
      await page.keyboard.type(c);
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  await sh("wall", "down");
  await sh("-c", "ip link add moved0 type veth peer name moved1; ip link set moved1 up; ip addr add 192.0.2.7/24 dev moved0; ip link set moved0 up");
  await t.status(/WebTransport/);
  move = false;
  await typing;
  await t.connected();
  same(t.session, session, "the session");
  check(typed.length > 3, `only ${typed.length} keys were typed while it moved`);
  await t.shows(new RegExp(`n${last}\\.`));
  await t.key("Enter");
  await t.shows(/<[a-z]*>/);
  const rows = await t.everything();
  const all = rows.join("\n");
  same(/<([a-z]*)>/.exec(all.replaceAll("\n", ""))[1], typed, "what was typed");
  const numbers = all.match(/n\d+\./g).map((n) => Number(n.slice(1, -1)));
  const wrong = numbers.findIndex((n, i) => n !== i + 1);
  check(wrong < 0 && numbers.length === last, `${numbers.length} numbers are on the screen, and the ${wrong}th of them is ${numbers[wrong]}`);
  await until("the terminal answers", () => t.answer("echo moved-$((1+1))").then((a) => a === "moved-2"));
});
