/** The kernel's AppArmor profiles. */
import { readFile } from "node:fs/promises";
import { run } from "./spawn.ts";

/** Time the parser gets. Milliseconds. */
const PARSER_MS = 30_000;

/** Is a profile of this name loaded? False without AppArmor. */
export async function isProfileLoaded(name: string): Promise<boolean> {
  try {
    const lines = (await readFile("/sys/kernel/security/apparmor/profiles", "utf8")).split("\n");
    return lines.some((line) => line.startsWith(`${name} (`));
  } catch {
    return false;
  }
}

/** Gives a profile's text to the kernel. @throws Error with the parser's words */
export async function loadProfile(text: string): Promise<void> {
  const done = await run("apparmor_parser", ["-K", "-r"], { stdin: text, timeoutMs: PARSER_MS });
  if (done.code !== 0) throw new Error(new TextDecoder().decode(done.stderr).trim());
}
