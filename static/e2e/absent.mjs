// What a machine does not have, it is not asked for: the page says what is missing before anybody types a password, and
// "Try again" is the main button only where that can help by itself.
import { check, origin, same, scrier, signIn, story } from "./story.mjs";

await story(async (teller) => {
  teller.allow(/status of 5\d\d /, /status of 4\d\d /, /net::ERR_/);
  const page = await teller.page();
  await signIn(page);
  const [{ id }] = JSON.parse(await scrier("envoys", "list", "--json"));
  for (const [protocol, server] of [["rdp", "RDP"], ["vnc", "VNC"]]) {
    await page.goto(`${origin}/scrier/${id}?protocol=${protocol}`);
    const said = page.locator(".card");
    await said.filter({ hasText: server }).first().waitFor();
    const text = await said.first().innerText();
    check(!/SSH/.test(text), `${protocol} to a machine without it speaks of SSH: ${text}`);
    same(await page.locator("input[type=password]:visible").count(), 0, `password fields for ${protocol} to a machine without it`);
    const first = await said.first().locator("button, a.button").first();
    check((await first.innerText()) !== "Try again", `"Try again" is the main button: ${text}`);
  }
});
