// Keys of a new operator: files as other systems write them are taken, and a private key does not leave the page.
import { check, origin, same, sign, signIn, story, work } from "./story.mjs";

await story(async (teller) => {
  teller.allow(/status of 403/); // the change comes again, signed
  const page = await teller.page();
  await signIn(page);
  await page.goto(origin + "/operators");
  await page.getByRole("button", { name: "New operator" }).click();
  const form = page.getByRole("dialog", { name: "New operator" });
  const keys = form.getByLabel("SSH public keys");
  await form.getByLabel("Username").fill("kim");

  const sent = [];
  page.on("request", (r) => r.method() === "POST" && sent.push(r.postData() ?? ""));
  await keys.fill("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAAsecret\n-----END OPENSSH PRIVATE KEY-----");
  await form.getByRole("button", { name: "Create" }).click();
  same(await keys.evaluate((e) => e.validationMessage), "This is a private key. Give only the public one, in OpenSSH the file that ends in .pub; the private one stays with its owner.", "what the field says");
  await keys.fill("");

  const files = form.getByLabel("Files with public keys");
  await files.setInputFiles(`${work}/kim`);
  await page.getByText("kim is a private key.").waitFor();
  await files.setInputFiles(`${work}/kim-cert.pub`);
  await page.getByText("kim-cert.pub is an SSH certificate.").waitFor();
  same(await keys.inputValue(), "", "what was taken of them");
  await files.setInputFiles([`${work}/kim.ssh2`, `${work}/second.utf16`]);
  await page.waitForFunction(() => /BEGIN SSH2[^]*ssh-rsa AAAA/.test(document.querySelector("#keys").value));
  await form.getByRole("button", { name: "Create" }).click();
  await sign(page);
  await page.getByRole("heading", { name: "kim is an operator" }).waitFor();
  check(sent.length > 0 && !sent.some((s) => s.includes("secret") || s.includes("PRIVATE")), "a private key was sent");
});
