/**
 * A registry that writes whatever bytes it likes: HTTP is read just far enough to know what is asked, and answered by a generator of
 * bytes, with the socket's own backpressure. For answers that no HTTP library would send.
 */
import { Buffer } from "node:buffer";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";

/** One request. */
export interface RawRequest {
  readonly method: string;
  /** With query. */
  readonly path: string;
  /** Header lines, lower-case names. */
  readonly headers: ReadonlyMap<string, string>;
}

/** The bytes of an answer; undefined closes the connection. `HANG` sends nothing more and keeps it open. */
export type RawAnswer = AsyncIterable<Uint8Array | string> | Iterable<Uint8Array | string> | undefined;

/** Yielded: nothing follows, and the connection stays open. */
export const HANG = "\0hang";

/** An ordinary answer. */
export function reply(
  status: number,
  headers: Readonly<Record<string, string | number>>,
  body: Uint8Array | string = "",
): Uint8Array[] {
  const bytes = Buffer.from(body);
  const lines = Object.entries({ "content-length": bytes.length, ...headers }).map(
    ([k, v]) => `${k}: ${v}\r\n`,
  );
  return [Buffer.from(`HTTP/1.1 ${status} X\r\n${lines.join("")}\r\n`), bytes];
}

/** See the file's comment. */
export class RawRegistry implements AsyncDisposable {
  /** Answers a request. */
  answer: (request: RawRequest) => RawAnswer = () => reply(404, {});
  readonly seen: RawRequest[] = [];
  /** Bytes written to clients. */
  sent = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor() {
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      void this.#serve(socket).catch(() => socket.destroy());
    });
  }

  static async start(): Promise<RawRegistry> {
    const made = new RawRegistry();
    await new Promise<void>((resolve) => made.#server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(socket: Socket): Promise<void> {
    let held = Buffer.alloc(0);
    let wake = (): void => {};
    socket.on("drain", () => wake());
    socket.on("close", () => wake());
    const until = (done: () => boolean): Promise<void> =>
      new Promise((resolve) => {
        wake = () => {
          if (done() || socket.destroyed) resolve();
        };
        wake();
      });
    for await (const chunk of socket) {
      held = Buffer.concat([held, chunk as Buffer]);
      for (let end = held.indexOf("\r\n\r\n"); end >= 0; end = held.indexOf("\r\n\r\n")) {
        const [first = "", ...lines] = held.subarray(0, end).toString("latin1").split("\r\n");
        const headers = new Map(
          lines.map((line) => [
            line.slice(0, line.indexOf(":")).toLowerCase(),
            line.slice(line.indexOf(":") + 1).trim(),
          ]),
        );
        const length = Number(headers.get("content-length") ?? "0");
        if (held.length < end + 4 + length) break;
        held = held.subarray(end + 4 + length);
        const [method = "", path = ""] = first.split(" ");
        const request = { method, path, headers };
        this.seen.push(request);
        const answer = this.answer(request);
        if (answer === undefined) return void socket.destroy();
        for await (const part of answer) {
          if (part === HANG) return await until(() => false);
          this.sent += part.length;
          if (!socket.write(part)) await until(() => !socket.writableNeedDrain);
          if (socket.destroyed) return;
        }
      }
    }
  }
}
