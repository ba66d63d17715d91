import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../../..");
const MODULE = join(import.meta.dirname, "interrupt.ts");

/** Runs a script that says "ready", sends it signals, each after the line before was read. @returns its lines and its end */
async function run(
  script: string,
  signals: readonly NodeJS.Signals[],
): Promise<{ lines: string[]; code: number | null }> {
  const code = `import { interrupted, interruptStatus, passSignalsOn } from "${MODULE}"; ${script} console.log("ready"); setInterval(() => {}, 1000);`;
  const child = spawn(join(ROOT, "node_modules/.bin/bun"), ["-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const end = once(child, "close");
  const left = [...signals];
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    for (const char of chunk) {
      text += char;
      const next = char === "\n" ? left.shift() : undefined;
      if (next !== undefined) child.kill(next);
    }
  });
  await end;
  return { lines: text.trim().split("\n"), code: child.exitCode };
}

test("the first signal aborts, the second ends the program with the code of its signal", async () => {
  const script = `interrupted().addEventListener("abort", () => console.log(interruptStatus()));`;
  assert.deepEqual(await run(script, ["SIGINT", "SIGINT"]), { lines: ["ready", "130"], code: 130 });
  assert.deepEqual(await run(script, ["SIGTERM", "SIGTERM"]), { lines: ["ready", "143"], code: 143 });
});

test("signals that are passed on to a process end nothing here", async () => {
  const script = `
    const passed = passSignalsOn();
    process.on("SIGINT", () => { console.log(interrupted().aborted, interruptStatus()); });
    process.on("SIGHUP", () => { passed[Symbol.dispose](); console.log("over"); });
    interrupted().addEventListener("abort", () => console.log("aborted"));`;
  assert.deepEqual(
    await run(script, ["SIGINT", "SIGINT", "SIGHUP", "SIGTERM", "SIGTERM"]).then((r) => r.lines),
    ["ready", "false undefined", "false undefined", "over", "aborted"],
  );
});
