// The pages through a proxy that ends TLS, or passes it on.
//   proxy works   a shell opens, over a WebSocket
//   proxy host    the proxy replaces the Host: the page says so, and nothing of roles
import { args, check, link, patience, same, signIn, story } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

await story(async (teller) => {
  teller.allow(/status of 421/, /net::ERR_/, /Failed to establish a connection to https:\/\/localhost.*\/wt\//, /WebTransport/);
  const page = await teller.page();
  if (args[0] === "host") {
    await page.goto(link);
    const answer = page.getByRole("alert");
    await page.getByRole("button", { name: /^Sign in/ }).or(answer).first().waitFor();
    if ((await answer.count()) === 0) await page.getByRole("button", { name: /^Sign in as/ }).click();
    await answer.getByText("The request names a host that the relay is not.").waitFor();
    await answer.getByText("a proxy in front of this relay has replaced it").waitFor();
    await answer.getByText("proxy_set_header Host $http_host;").waitFor();
    check(!(await page.content()).includes("Your role does not allow"), "the page speaks of roles");
    return;
  }
  const events = page.waitForResponse((r) => r.url().endsWith("/api/v1/events"), { timeout: patience });
  const sockets = [];
  page.on("websocket", (s) => sockets.push(s.url()));
  await signIn(page);
  same((await events).status(), 200, "the stream of events");
  const t = await Terminal.open(page);
  await t.run("echo through-$((6*7))");
  await t.shows(/through-42/);
  check(sockets.length > 0, "the shell came by no WebSocket");
});
