/** A streaming runtime that runs programs of this machine, connects to its ports, and attaches to an upper-casing echo. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import type { Readable, Writable } from "node:stream";
import type {
  ByteSink,
  ByteSource,
  ExecRequest,
  ForwardedConnection,
  StdioStreams,
  StreamingRuntime,
} from "../../../src/cri/streaming/runtime.ts";

export const fakeRuntime: StreamingRuntime = {
  exec,
  async attach(_request, streams) {
    for await (const chunk of streams.stdin ?? []) {
      await streams.stdout?.write(Buffer.from(Buffer.from(chunk).toString().toUpperCase()));
    }
  },
  async portForward(_podId: string, port: number, connection: ForwardedConnection) {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    const drop = (): void => void socket.destroy();
    connection.signal.addEventListener("abort", drop);
    try {
      await once(socket, "connect");
      await Promise.all([feed(connection.source, socket), copy(socket, connection.sink)]);
    } finally {
      connection.signal.removeEventListener("abort", drop);
      socket.destroy();
    }
  },
};

async function exec(request: ExecRequest, streams: StdioStreams): Promise<number> {
  const [program = "", ...args] = request.command;
  if (program === "print-size") {
    for await (const { columns, rows } of streams.resize) {
      await streams.stdout?.write(Buffer.from(`${columns}x${rows}\n`));
      return 0;
    }
    return 1;
  }
  const child = spawn(program, args, { stdio: "pipe", signal: streams.signal });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 128));
  });
  if (streams.stdin === undefined) child.stdin.end();
  // A program need not read its input.
  else feed(streams.stdin, child.stdin).catch(() => {});
  const outputs = [copy(child.stdout, streams.stdout), copy(child.stderr, streams.stderr)];
  const [code] = await Promise.all([ended, ...outputs]);
  return code;
}

async function copy(from: Readable, to: ByteSink | undefined): Promise<void> {
  for await (const chunk of from) await to?.write(chunk);
  await to?.close();
}

async function feed(from: ByteSource, to: Writable): Promise<void> {
  let broken: Error | undefined;
  to.on("error", (err) => {
    broken = err;
    to.emit("drain");
  });
  for await (const chunk of from) {
    if (broken === undefined && !to.write(chunk)) await once(to, "drain");
    if (broken !== undefined) return;
  }
  to.end();
}
