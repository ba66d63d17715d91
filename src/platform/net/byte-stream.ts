/**
 * Connected streams over unix sockets, as thin as the runtime has them. Under Bun they sit on its own sockets: node:net with the
 * streams below it costs 1 MB of private memory and 2 ms of start, once per shim and per client. Elsewhere they are node:net's.
 */
import type { Socket } from "node:net";
import { isBun } from "../runtime.ts";
import { type PeerCredentials, peerCredentials } from "../syscalls/socket.ts";

/** The part of a duplex stream that the transports use; node:net's sockets have it too. */
export interface ByteStream {
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "end" | "close" | "drain", listener: () => void): unknown;
  /** False when the chunk is not all in the kernel's hands: "drain" follows. `done` is called when the bytes may be reused. */
  write(chunk: Uint8Array, done?: (error?: Error | null) => void): boolean;
  /** Bytes the kernel did not take yet. */
  readonly writableLength: number;
  pause(): unknown;
  resume(): unknown;
  /** Half-closes when everything is written. */
  end(): unknown;
  /** Ends at once. */
  destroy(): unknown;
}

/** The parts of Bun's socket in use. */
interface NativeSocket {
  data: NativeStream;
  readonly fd: number;
  write(chunk: Uint8Array): number;
  pause(): void;
  resume(): void;
  shutdown(): void;
  terminate(): void;
}

interface Waiting {
  readonly chunk: Uint8Array;
  readonly done: ((error?: Error | null) => void) | undefined;
}

/** Bun's socket as a {@link ByteStream}. */
class NativeStream implements ByteStream {
  readonly #socket: NativeSocket;
  readonly #listeners: { [event: string]: ((value: never) => void)[] } = {};
  /** Chunks that came before anybody listened. */
  #early: Buffer[] = [];
  #queue: Waiting[] = [];
  #queued = 0;
  #ending = false;
  #gone = false;

  constructor(socket: NativeSocket) {
    this.#socket = socket;
  }

  on(event: "data", listener: (chunk: Buffer) => void): this;
  on(event: "error", listener: (error: Error) => void): this;
  on(event: "end" | "close" | "drain", listener: () => void): this;
  on(event: string, listener: (value: never) => void): this {
    const all = this.#listeners[event] ?? [];
    this.#listeners[event] = all;
    all.push(listener);
    if (event === "data") for (const chunk of this.#early.splice(0)) (listener as (c: Buffer) => void)(chunk);
    return this;
  }

  #emit(event: string, value?: unknown): void {
    for (const listener of this.#listeners[event] ?? []) (listener as (value: unknown) => void)(value);
  }

  /** Who connected; undefined when it is gone already. */
  get peer(): PeerCredentials | undefined {
    try {
      return peerCredentials(this.#socket.fd);
    } catch {
      return undefined;
    }
  }

  get writableLength(): number {
    return this.#queued;
  }

  /** The kernel's fd while nothing of the stream is in our memory: all that matters is in the kernel then. */
  get restingFd(): number | undefined {
    if (this.#gone || this.#ending || this.#queue.length > 0 || this.#early.length > 0) return undefined;
    return this.#socket.fd;
  }

  write(chunk: Uint8Array, done?: (error?: Error | null) => void): boolean {
    if (this.#gone || this.#ending) {
      done?.(new Error("write after end"));
      return false;
    }
    let rest = chunk;
    if (this.#queue.length === 0) {
      const written = Math.max(0, this.#socket.write(chunk));
      if (written === chunk.length) {
        done?.();
        return true;
      }
      rest = chunk.subarray(written);
    }
    this.#queue.push({ chunk: rest, done });
    this.#queued += rest.length;
    return false;
  }

  pause(): void {
    if (!this.#gone) this.#socket.pause();
  }

  resume(): void {
    if (!this.#gone) this.#socket.resume();
  }

  end(): void {
    if (this.#ending || this.#gone) return;
    this.#ending = true;
    if (this.#queue.length === 0) this.#socket.shutdown();
  }

  destroy(): void {
    if (!this.#gone) this.#socket.terminate();
  }

  /** The kernel takes more. */
  drained(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const { chunk, done } = first;
      const written = Math.max(0, this.#socket.write(chunk));
      this.#queued -= written;
      if (written < chunk.length) {
        this.#queue[0] = { chunk: chunk.subarray(written), done };
        return;
      }
      this.#queue.shift();
      done?.();
    }
    if (this.#ending) this.#socket.shutdown();
    else this.#emit("drain");
  }

  received(chunk: Buffer): void {
    if (this.#listeners["data"] === undefined) this.#early.push(chunk);
    else this.#emit("data", chunk);
  }

  ended(): void {
    this.#emit("end");
  }

  failed(error: Error): void {
    this.#emit("error", error);
  }

  closed(): void {
    if (this.#gone) return;
    this.#gone = true;
    const lost = this.#queue;
    this.#queue = [];
    this.#queued = 0;
    for (const { done } of lost) done?.(new Error("connection closed"));
    this.#emit("close");
  }
}

/** Who is at the other end of an accepted unix socket, as the kernel says; undefined where the runtime does not tell. */
export function peerOf(stream: ByteStream): PeerCredentials | undefined {
  return stream instanceof NativeStream ? stream.peer : undefined;
}

/** The kernel's fd of a stream of which nothing is in our memory; undefined otherwise, and where the runtime does not tell. */
export function restingFd(stream: ByteStream): number | undefined {
  return stream instanceof NativeStream ? stream.restingFd : undefined;
}

const events = {
  data: (socket: NativeSocket, chunk: Buffer): void => socket.data.received(chunk),
  drain: (socket: NativeSocket): void => socket.data.drained(),
  end: (socket: NativeSocket): void => socket.data.ended(),
  error: (socket: NativeSocket, error: Error): void => socket.data.failed(error),
  close: (socket: NativeSocket): void => socket.data.closed(),
};

/** Bun.listen and Bun.connect for unix sockets; `data` is set by us at open. */
interface NativeNet {
  listen(options: object): { stop(closeActive?: boolean): void; readonly fd: number };
  connect(options: object): Promise<NativeSocket>;
}
const native = (): NativeNet => (globalThis as unknown as { Bun: NativeNet }).Bun;

/** node:net, loaded when it is needed. */
export const nodeNet = (): typeof import("node:net") => process.getBuiltinModule("node:net");

/** A listening unix socket: `close` stops accepting. */
export interface StreamListener {
  close(): void;
  /** The kernel's fd, where the runtime tells. */
  readonly fd?: number;
}

/**
 * Binds a unix socket path that is free, and listens. Synchronous under Bun, so a umask set around it is in force.
 * @throws the bind error; elsewhere it rejects
 */
export function listenStream(
  path: string,
  backlog: number,
  accept: (stream: ByteStream) => void,
): StreamListener | Promise<StreamListener> {
  if (isBun) {
    return listenNative({ unix: path }, accept);
  }
  return listenNode(path, backlog, accept);
}

function listenNative(where: object, accept: (stream: ByteStream) => void): StreamListener {
  const open = (socket: NativeSocket): void => {
    socket.data = new NativeStream(socket);
    accept(socket.data);
  };
  const listener = native().listen({ ...where, allowHalfOpen: true, socket: { open, ...events } });
  return { close: () => listener.stop(), fd: listener.fd };
}

/** Accepts on an fd that listens already (Bun only). Owns it from here on. */
export function adoptListener(fd: number, accept: (stream: ByteStream) => void): StreamListener {
  return listenNative({ fd }, accept);
}

/** A stream over a connected fd (Bun only), which it owns from here on. Data that waits there is told from the next turn on. */
export function adoptStream(fd: number): Promise<ByteStream> {
  return connectNative({ fd });
}

async function connectNative(where: object): Promise<ByteStream> {
  const open = (socket: NativeSocket): void => {
    socket.data = new NativeStream(socket);
  };
  const socket = await native().connect({
    ...where,
    allowHalfOpen: true,
    socket: { open, connectError: () => {}, ...events },
  });
  return socket.data;
}

/** The same with node:net in every runtime, for who needs whole streams. */
export function listenNode(
  path: string,
  backlog: number,
  accept: (socket: Socket) => void,
): Promise<StreamListener> {
  return new Promise((resolve, reject) => {
    const server = nodeNet().createServer({ allowHalfOpen: true }, accept);
    server.once("error", reject);
    server.listen({ path, backlog }, () => {
      server.off("error", reject);
      server.on("error", () => {});
      resolve({ close: () => server.close() });
    });
  });
}

/** Connects to a unix socket path or, with "@" in front, an abstract name. Rejects with the connect error. */
export async function connectStream(path: string): Promise<ByteStream> {
  if (isBun && !path.startsWith("@")) return await connectNative({ unix: path });
  return await new Promise<Socket>((resolve, reject) => {
    const socket = nodeNet().connect({ path: path.startsWith("@") ? `\0${path.slice(1)}` : path });
    socket.once("error", reject);
    // a destroyed socket may report once more
    socket.on("error", () => {});
    socket.once("connect", () => {
      socket.off("error", reject);
      resolve(socket);
    });
  });
}
