/**
 * The Kubernetes log for shims that are not ours and know no `cri-log://`: they start
 * `binary:///PROGRAM?cri-log=PATH%3Fmax%3DBYTES`, which is this program as a logger. It lives as long as the container's
 * streams are open, with or without a daemon. Rotation is seen at the next line; who wants the new file at once makes it.
 */
import { messageOf } from "../../src/core/errors.ts";
import { copyFd } from "../../src/platform/fs/fifo.ts";
import { close } from "../../src/platform/syscalls/files.ts";
import { CriLog } from "./cri-log.ts";
import { loggerTo } from "./log.ts";
import { parseLogAddress } from "./log-address.ts";

/** By the logger protocol: the two streams, and what is closed when we are ready. */
const STDOUT = 3;
const STDERR = 4;
const READY = 5;

/** Runs until both streams ended. @returns exit code */
export async function logProcess(address: string): Promise<number> {
  const log = loggerTo((line) => void process.stderr.write(line), false, {});
  try {
    const { path, max, rotate } = parseLogAddress(address);
    const file = new CriLog(path, max, log, rotate);
    const sinks = [file.stream("stdout"), file.stream("stderr")] as const;
    // Ends when the streams do: a signal for a whole group must not cut the last lines.
    process.on("SIGTERM", () => {});
    process.on("SIGINT", () => {});
    close(READY);
    await Promise.all(
      [STDOUT, STDERR].map(async (fd, i) => {
        const sink = sinks[i];
        if (sink === undefined) return;
        await copyFd(fd, [sink]);
        await sink.close();
      }),
    );
    return 0;
  } catch (error) {
    log.error("write container log", { err: messageOf(error) });
    return 1;
  }
}
