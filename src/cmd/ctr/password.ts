/** Asks a person for a secret without showing it. */

import { invalidArgument } from "../../core/errors.ts";
import { stderrStream, toStderr } from "../shared/output.ts";

/** Asks for one line that may be seen. @throws invalid-argument when there is no terminal */
export async function askLine(prompt: string): Promise<string> {
  if (process.stdin.isTTY !== true)
    throw invalidArgument("username required, and stdin is no terminal", { hint: "use --username NAME" });
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: stderrStream() });
  try {
    return (await lines.question(prompt)).trim();
  } finally {
    lines.close();
  }
}

/** @throws invalid-argument when there is no terminal */
export async function askPassword(prompt: string, hint = "use --user NAME:PASSWORD"): Promise<string> {
  const { stdin } = process;
  if (stdin.isTTY !== true) throw invalidArgument("password required, and stdin is no terminal", { hint });
  toStderr(prompt);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let typed = "";
      const onData = (data: Buffer): void => {
        for (const char of data.toString("utf8")) {
          if (char === "\r" || char === "\n" || char === "\u0004") {
            stdin.off("data", onData);
            resolve(typed);
            return;
          }
          if (char === "\u0003") {
            stdin.off("data", onData);
            reject(invalidArgument("password required: interrupted"));
            return;
          }
          typed = char === "\u007f" || char === "\b" ? typed.slice(0, -1) : typed + char;
        }
      };
      stdin.on("data", onData);
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    toStderr("\n");
  }
}
