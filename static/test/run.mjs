// Bundles the unit tests into a temporary folder and runs them with node --test.
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = await mkdtemp(join(tmpdir(), "scrier-pages-"));
try {
  const tests = (await readdir(here)).filter((f) => f.endsWith(".test.js"));
  await build({
    absWorkingDir: dirname(here),
    entryPoints: tests.map((f) => join(here, f)),
    outdir: out,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    sourcemap: "inline",
    logLevel: "warning",
  });
  const files = tests.map((f) => join(out, f.replace(/\.js$/, ".mjs")));
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit", cwd: dirname(here) });
  process.exitCode = status ?? 1;
} finally {
  await rm(out, { recursive: true, force: true });
}
