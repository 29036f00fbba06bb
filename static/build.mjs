// Makes static/dist out of static/src: bundles with hashed names, each also compressed, the pages
// that refer to them, and the licences of what is bundled.
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = dirname(fileURLToPath(import.meta.url));
const src = join(root, "src");
const dist = join(root, "dist");
const fresh = join(root, "dist.new"); // becomes dist when it is whole

const firstLoad = 250_000; // bytes, gzipped, of all that the terminal page needs before the prompt
const firstList = 60_000; // bytes, gzipped, of all that the page of files needs before the first folder
const firstPicture = 80_000; // the same of the desktop page, before it can ask for a picture

// A page, and the entry point that it loads.
const pages = [
  { html: "app.html", entry: "app/main.ts" },
  { html: "terminal.html", entry: "terminal/main.ts", limit: firstLoad },
  { html: "files.html", entry: "files/main.ts", limit: firstList },
  { html: "desktop.html", entry: "desktop/main.ts", limit: firstPicture },
];

function fail(why) {
  console.error(`static: ${why}`);
  process.exit(1);
}

const kB = (n) => `${(n / 1000).toFixed(1)} kB`;
const slashed = (p) => p.split(sep).join("/");

async function bundle() {
  if (!existsSync(join(root, "node_modules", "esbuild"))) fail("node_modules is missing: run `npm ci --ignore-scripts` in static/ (or `just web`)");
  const { build } = await import("esbuild");
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: pages.map((p) => join(src, p.entry)),
    outdir: join(fresh, "assets"),
    outbase: src,
    entryNames: "[dir]-[hash]",
    chunkNames: "chunk-[hash]",
    assetNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none", // they are in LICENCES.txt
    metafile: true,
    logLevel: "warning",
  });
  return metafile;
}

// compress puts NAME.gz and NAME.br beside each file, and gives their sizes.
async function compress(dir) {
  const sizes = new Map();
  for (const entry of await readdir(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const data = await readFile(path);
    const gz = gzipSync(data, { level: 9 });
    const br = brotliCompressSync(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length } });
    await writeFile(path + ".gz", gz);
    await writeFile(path + ".br", br);
    sizes.set(slashed(relative(fresh, path)), { raw: data.length, gz: gz.length, br: br.length });
  }
  return sizes;
}

// loaded is what a page's entry loads at once: itself, what it imports, and its styles.
function loaded(metafile, entry) {
  const outputs = Object.entries(metafile.outputs);
  const first = outputs.find(([, o]) => o.entryPoint === slashed(join("src", entry)));
  if (!first) fail(`esbuild made nothing of ${entry}`);
  const scripts = new Set();
  const walk = (name) => {
    if (scripts.has(name)) return;
    scripts.add(name);
    for (const i of metafile.outputs[name]?.imports ?? []) if (i.kind === "import-statement" && !i.external) walk(i.path);
  };
  walk(first[0]);
  const inDist = (name) => slashed(relative(fresh, join(root, name)));
  return { scripts: [...scripts].map(inDist), style: first[1].cssBundle && inDist(first[1].cssBundle) };
}

// page writes a document; `<!--assets-->` in it becomes the references to the hashed files.
async function page(p, files) {
  const template = await readFile(join(src, p.html), "utf8");
  if (!template.includes("<!--assets-->")) fail(`${p.html} has no <!--assets-->`);
  if (/<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=/i.test(template)) fail(`${p.html} has a script or style inside: the pages' policy forbids it`);
  const [entry, ...rest] = files.scripts;
  const lines = [];
  if (files.style) lines.push(`<link rel="stylesheet" href="/${files.style}">`);
  for (const s of rest) lines.push(`<link rel="modulepreload" href="/${s}">`);
  lines.push(`<script type="module" src="/${entry}"></script>`);
  await writeFile(join(fresh, p.html), template.replace("<!--assets-->", lines.join("\n    ")));
}

// licences lists what is bundled, with the words under which it may be.
async function licences(metafile) {
  const names = new Set();
  for (const o of Object.values(metafile.outputs)) {
    for (const input of Object.keys(o.inputs)) {
      const name = /(?:^|\/)node_modules\/((?:@[^/]+\/)?[^/]+)\/(?!.*node_modules\/)/.exec(input)?.[1];
      if (name) names.add(name);
    }
  }
  const parts = [];
  for (const name of [...names].sort()) {
    const dir = join(root, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(dir, "package.json"), "utf8"));
    const file = (await readdir(dir)).find((f) => /^licen[cs]e(\.|$)/i.test(f));
    if (!file) fail(`${name} ${version} has no licence file`);
    const text = (await readFile(join(dir, file), "utf8")).trim();
    parts.push(`${name} ${version} (${license})\n${"-".repeat(72)}\n${text}\n`);
  }
  await writeFile(join(fresh, "LICENCES.txt"), "Scrier's pages contain these packages.\n\n" + parts.join("\n\n"));
  return names.size;
}

await rm(fresh, { recursive: true, force: true });
await mkdir(join(fresh, "assets"), { recursive: true });
const metafile = await bundle();
const sizes = await compress(join(fresh, "assets"));
for (const p of pages) {
  const files = loaded(metafile, p.entry);
  await page(p, files);
  const gz = [...files.scripts, ...(files.style ? [files.style] : [])].reduce((n, f) => n + sizes.get(f).gz, 0);
  console.log(`${p.html}: first load ${kB(gz)} gzipped${p.limit ? `, at most ${kB(p.limit)}` : ""}`);
  if (p.limit && gz > p.limit) fail(`the first load of ${p.html} is ${kB(gz)} gzipped, at most ${kB(p.limit)} are allowed`);
}
await writeFile(join(fresh, "favicon.svg"), await readFile(join(src, "favicon.svg")));
const packages = await licences(metafile);

// What is in dist besides, like a file that keeps the folder, stays.
await mkdir(dist, { recursive: true });
for (const name of await readdir(dist)) if (!name.startsWith(".")) await rm(join(dist, name), { recursive: true });
for (const name of await readdir(fresh)) await rename(join(fresh, name), join(dist, name));
await rm(fresh, { recursive: true });
for (const [name, s] of [...sizes].sort(([a], [b]) => a.localeCompare(b))) console.log(`  ${name.padEnd(44)} ${kB(s.raw).padStart(9)} ${kB(s.gz).padStart(9)} gz ${kB(s.br).padStart(9)} br`);
console.log(`dist is built; LICENCES.txt lists ${packages} packages`);
