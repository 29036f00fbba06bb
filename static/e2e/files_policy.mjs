// Files where only one direction is allowed:
//   files_policy HOME upload|download   what is allowed
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { args, check, origin, same, signIn, story, until } from "./story.mjs";
import { ours, Pane } from "./pane.mjs";

const [home, may] = args;

await story(async (teller) => {
  teller.allow(/status of 403/, /WebTransport/, /\/wt\//);
  const page = await teller.page({ viewport: { width: 1200, height: 760 } });
  await signIn(page);
  writeFileSync(join(home, "there.txt"), "there\n");
  await page.getByRole("button", { name: "More on web1" }).click();
  await page.getByRole("menuitem", { name: "Browse files" }).click();
  const pane = new Pane(page);
  const session = await until("a session", () => new URL(page.url()).searchParams.get("session"));
  // What the page greys, the relay refuses as well.
  const ask = (method, what, body) => page.evaluate(async ([m, path, b]) => {
    const r = await fetch(path, { method: m, ...(b === undefined ? {} : { body: b, headers: { "Content-Type": m === "PUT" ? "application/octet-stream" : "application/json" } }) });
    return [r.status, r.ok ? "" : (await r.json()).type];
  }, [method, `/api/v1/sessions/${session}/files${what}`, body]);
  const no = [403, "urn:scrier:error:channel_not_allowed"];
  const at = (name) => encodeURIComponent(join(home, name));
  if (may === "download") {
    await pane.has("there.txt");
    await page.getByText("changing files is not allowed here").waitFor();
    for (const name of ["Upload files", "Upload a folder", "New folder"]) check(await pane.tool(name).isDisabled(), `${name} can be pressed`);
    await pane.row("there.txt").click();
    for (const name of ["Rename", "Delete"]) check(await pane.tool(name).isDisabled(), `${name} can be pressed`);
    check(await pane.tool("Download").isEnabled(), "nothing can be downloaded");
    for (const key of ["F2", "Delete"]) await page.keyboard.press(key);
    same(await page.locator("dialog[open]").count(), 0, "dialogs");
    await pane.drop([ours("new.txt", "new")]);
    same(await ask("PUT", `/content?path=${at("new.txt")}&size=3&offset=0`, "new"), no, "an upload");
    same(await ask("DELETE", `?path=${at("there.txt")}`), no, "a deletion");
    same(await ask("POST", "/folder", JSON.stringify({ path: join(home, "folder") })), no, "a new folder");
    check(existsSync(join(home, "there.txt")) && !existsSync(join(home, "new.txt")) && !existsSync(join(home, "folder")), "something was changed");
  } else {
    await page.getByText("downloading is not allowed here").waitFor();
    check(await pane.tool("Download").isDisabled(), "Download can be pressed");
    same(await ask("GET", `/content?path=${at("there.txt")}`), no, "a download");
    same(await ask("GET", `/archive?path=${at("there.txt")}`), no, "an archive");
  }
});
