/** pprof: profiles and dumps of the daemon from its debug socket. */

import { request } from "node:http";
import { pipeline } from "node:stream/promises";
import { failedPrecondition, unavailable } from "../../../core/errors.ts";
import { stdoutStream } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { durationMs, textOf } from "../context.ts";
import { DEBUG_SOCKET } from "../debug-socket.ts";

/** Fetches one profile to stdout. `seconds` is the time it takes by itself. */
function profile(name: string): Action {
  return async (_context, _args, options) => {
    const socket = (textOf(options, "debugSocket") || DEBUG_SOCKET).replace(/^unix:\/\//, "");
    const query = new URLSearchParams();
    const seconds = textOf(options, "seconds");
    if (seconds !== "") query.set("seconds", String(durationMs(seconds) / 1000));
    if (textOf(options, "debug") !== "") query.set("debug", textOf(options, "debug"));
    const path = `/debug/pprof/${name}?${query}`;
    const answer = await new Promise<import("node:http").IncomingMessage>((resolve, reject) => {
      const req = request({ socketPath: socket, path }, resolve);
      req.on("error", (err) =>
        reject(
          unavailable(`connect to the debug socket "${socket}"`, {
            cause: err,
            hint: 'set debug.address in the daemon\'s configuration, or name the socket with --debug-socket; "containerd config explain debug.address" says more',
          }),
        ),
      );
      req.end();
    });
    if (answer.statusCode !== 200) {
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      throw failedPrecondition(`profile "${name}": ${Buffer.concat(chunks).toString("utf8").trim()}`);
    }
    await pipeline(answer, stdoutStream(), { end: false });
    return 0;
  };
}

export const block = profile("block");
export const goroutines = profile("goroutine");
export const heap = profile("heap");
export const cpu = profile("profile");
export const threadcreate = profile("threadcreate");
export const trace = profile("trace");
