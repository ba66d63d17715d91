import { type Command, runCommand } from "../command.ts";
import { Budget, Inbox } from "../inbox.ts";
import type { StreamingLimits } from "../limits.ts";
import { ResizeEvents } from "../resize.ts";
import type { ByteSink, StdioStreams, StreamingRuntime } from "../runtime.ts";
import type { ByteTransport } from "../transport.ts";
import { type ChannelFormat, Channels } from "./channels.ts";
import { WebSocketConnection } from "./connection.ts";

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

interface CommandFormat extends ChannelFormat {
  readonly statusAsJson: boolean;
}

/** Protocols of exec and attach over WebSocket. The empty name is a client that asks for none. */
export const WEBSOCKET_COMMAND_PROTOCOLS: ReadonlyMap<string, CommandFormat> = new Map([
  ["v5.channel.k8s.io", { base64: false, closes: true, statusAsJson: true }],
  ["v4.channel.k8s.io", { base64: false, closes: false, statusAsJson: true }],
  ["v4.base64.channel.k8s.io", { base64: true, closes: false, statusAsJson: true }],
  ["channel.k8s.io", { base64: false, closes: false, statusAsJson: false }],
  ["base64.channel.k8s.io", { base64: true, closes: false, statusAsJson: false }],
  ["", { base64: false, closes: false, statusAsJson: false }],
]);

/**
 * Serves exec or attach on an open WebSocket, and ends it.
 * @throws what the client broke
 */
export async function serveWebSocketCommand(
  transport: ByteTransport,
  format: CommandFormat,
  command: Command,
  runtime: StreamingRuntime,
  limits: StreamingLimits,
): Promise<void> {
  const { request } = command;
  const socket = new WebSocketConnection(transport, limits);
  const channels = new Channels(socket, format);
  const budget = new Budget(limits.inboundBytes);
  const stdin = request.stdin ? new Inbox(budget) : undefined;
  const resize = new ResizeEvents();
  const left = new AbortController();

  const reading = channels
    .read({
      async received(channel, bytes) {
        if (channel === STDIN) stdin?.push(bytes);
        else if (channel === RESIZE) resize.push(bytes);
        await budget.room();
      },
      closed(channel) {
        if (channel === STDIN) stdin?.end();
      },
    })
    .then(
      () => undefined,
      (err: unknown) => ({ err }),
    )
    .finally(() => {
      stdin?.end();
      resize.end();
      left.abort();
    });
  void reading.then((end) => {
    if (end !== undefined) void transport.end();
  });

  const stdout = request.stdout ? channels.sink(STDOUT) : undefined;
  const stderr = request.stderr ? channels.sink(STDERR) : undefined;
  const error: ByteSink = channels.sink(ERROR);
  const streams: StdioStreams = {
    ...(stdin && { stdin }),
    ...(stdout && { stdout }),
    ...(stderr && { stderr }),
    resize,
    signal: AbortSignal.any([transport.signal, left.signal]),
  };
  try {
    // Clients of old protocols take the first message as the sign that the command starts.
    const first = request.stdout ? STDOUT : request.stderr ? STDERR : ERROR;
    await channels.send(first, new Uint8Array(0)).catch(() => {});
    await runCommand(runtime, command, { streams, error, statusAsJson: format.statusAsJson });
    stdin?.discard();
    await socket.end();
    const end = await reading;
    if (end !== undefined) throw end.err;
  } finally {
    transport.destroy();
  }
}
