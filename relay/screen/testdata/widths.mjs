// Prints a number for each code point, as characters: how wide the page's terminal draws it and what
// joins to it. The page's own add-on is asked, through the interface that it gives to the terminal.
//
// Usage: node widths.mjs FOLDER-OF-NODE-MODULES
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.resolve(process.argv[2], "here.js"));
// The add-on reads its table from the wrong place of a Buffer, which browsers do not have.
const buffer = globalThis.Buffer;
delete globalThis.Buffer;
const { UnicodeGraphemesAddon } = require("@xterm/addon-unicode-graphemes");
globalThis.Buffer = buffer;

const versions = {};
const unicode = { activeVersion: "6", register: (v) => (versions[v.version] = v) };
new UnicodeGraphemesAddon().activate({ unicode });
const v = versions[unicode.activeVersion];
const out = Buffer.alloc(0x110000);
for (let c = 0; c < 0x110000; c++) {
  const alone = v.charProperties(c, 0);
  out[c] = ((alone >> 3) & 15) | (((alone >> 1) & 3) << 4);
}
process.stdout.write(out);
