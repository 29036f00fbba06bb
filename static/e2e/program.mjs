import { spawn } from "node:child_process";
import { until } from "./story.mjs";

/** Program is one in a terminal of its own. */
export class Program {
  seen = "";

  constructor(...argv) {
    this.child = spawn("script", ["-qefc", argv.join(" "), "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
    this.child.stdout.setEncoding("utf8").on("data", (s) => (this.seen += s));
    this.status = new Promise((done) => this.child.on("close", done));
  }

  type(text) {
    this.child.stdin.write(text);
  }

  async shows(pattern) {
    await until(`${this.child.spawnargs.join(" ")} shows ${pattern}`, () => pattern.test(this.seen)).catch((err) => {
      throw new Error(`${err.message}; it shows:\n${this.seen}`);
    });
  }
}
