// Output takes a lane beside WebTransport when that loses packets, and comes back when the lane is cut; keys never leave WebTransport.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { check, link, same, signIn, story } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const sh = async (...argv) => (await promisify(execFile)("sh", argv)).stdout;
const last = 1500; // lines, each with 8 kB that is not seen

await story(async (teller) => {
  teller.allow(/net::ERR_/, /WebSocket connection .* failed/);
  const page = await (await teller.context()).newPage();
  const sockets = [];
  page.on("websocket", (ws) => sockets.push(ws));
  await signIn(page, link);
  const t = await Terminal.open(page);
  await t.status(/WebTransport/);
  await t.run("stty -echo; pad=$(printf '\\033[m%.0s' $(seq 2700)); clear");
  await sh("loss", "20");
  await t.run(`i=0; while [ $i -lt ${last} ]; do i=$((i+1)); echo "n$i.$pad"; done; read -r line; echo "<$line>"`);
  const began = Date.now();
  await t.status(/WebTransport \+ WebSocket/);
  console.log(`the lane was there after ${Date.now() - began} ms`);
  same(sockets.length, 1, "WebSockets of the page");
  let sent = 0;
  sockets[0].on("framesent", () => sent++);
  await page.keyboard.type("abc");

  // The lane's path is gone: nothing says so, and no packet passes.
  await sh("cut");
  await t.status(/WebTransport(?! \+)/);
  await sh("loss", "0");
  await page.keyboard.type("def");
  await t.shows(new RegExp(`n${last}\\.`), 90_000);
  await t.key("Enter");
  await t.shows(/<abcdef>/);
  check(sent <= 1, `${sent} frames went over the lane, which takes no keys`);
  const numbers = (await t.everything()).join("\n").match(/n\d+\./g).map((n) => Number(n.slice(1, -1)));
  const wrong = numbers.findIndex((n, i) => n !== i + 1);
  check(wrong < 0 && numbers.length === last, `${numbers.length} numbers are on the screen, and the ${wrong}th of them is ${numbers[wrong]}`);
});
