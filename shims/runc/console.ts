/** Where a runtime command hands over the terminal it made. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ConsoleSocket } from "../../src/platform/tty/console.ts";

/** Runs `body` with the path of a listening console socket in a private folder; bundles may be too deep for one. */
export async function withConsole<T>(
  terminal: boolean,
  body: (socket: ConsoleSocket | undefined) => Promise<T>,
): Promise<T> {
  if (!terminal) return body(undefined);
  const folder = mkdtempSync(join(tmpdir(), "gantry-pty-"));
  try {
    using socket = ConsoleSocket.listen(join(folder, "s"));
    return await body(socket);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
