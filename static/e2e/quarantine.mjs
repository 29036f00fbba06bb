// An envoy in quarantine is loud, says from which addresses its identity was used, and is released by an
// administrator who was told.
//   quarantine see       somebody who may only look
//   quarantine release   an administrator; the envoy's agent connects again
import { args, check, same, signIn, story } from "./story.mjs";

await story(async (teller) => {
  const page = await teller.page();
  await signIn(page);
  await page.getByRole("row", { name: /Quarantined.*web1/ }).or(page.getByRole("row", { name: /web1.*Quarantined/ })).waitFor();
  await page.getByRole("button", { name: /^Quarantined\s+1$/ }).click(); // the filter
  await page.getByRole("link", { name: "Details of web1" }).click();
  const drawer = page.locator("scrier-envoy dialog");
  const alert = drawer.getByRole("alert");
  for (const part of [/Two machines have used its identity/, /an old certificate was used after a newer one/, /Newest certificate: generation 2 from 127\.0\.0\.1/, /Used beside it: generation 1 from 127\.0\.0\.1/])
    await alert.getByText(part).first().waitFor();
  same(await drawer.getByRole("link", { name: "Shell" }).count(), 0, "shells that are offered");
  const release = drawer.getByRole("button", { name: "Release…" });
  if (args[0] === "see") {
    same(await release.count(), 0, "buttons that would be refused");
    return;
  }
  await release.click();
  const ask = page.getByRole("dialog", { name: "Release web1?" });
  await ask.getByText(/generation 2 from 127\.0\.0\.1.*generation 1 from 127\.0\.0\.1/).waitFor();
  const go = ask.getByRole("button", { name: "Release" });
  check(await go.isDisabled(), "released without a word");
  await ask.getByLabel("Type web1 to go on").fill("web1");
  await go.click();
  await page.getByText("web1 is released").waitFor();
  await drawer.getByText("Online").first().waitFor({ timeout: 90_000 });
  same(await alert.count(), 0, "what is still said of the quarantine");
});
