/** Listening sockets of both servers. */
import { lstatSync, unlinkSync } from "node:fs";
import type { Server, Socket } from "node:net";
import { alreadyExists, invalidArgument, messageOf, unavailable } from "../core/errors.ts";
import {
  adoptListener,
  type ByteStream,
  listenNode,
  listenStream,
  nodeNet,
  type StreamListener,
} from "../platform/net/byte-stream.ts";
import { listenUnix, MAX_SOCKET_PATH } from "../platform/net/unix.ts";
import type { ListenAddress, ServerTls } from "./types.ts";

/** A socket that accepts connections. */
export interface Listener {
  /** The TCP port, when there is one. */
  readonly port: number | undefined;
  /** The kernel's fd, where the runtime tells. */
  readonly fd?: number | undefined;
  /** Stops accepting; open connections go on. A unix socket file that is still ours is removed. */
  close(): Promise<void>;
}

/** Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn. */
const BACKLOG = 4096;

/**
 * Opens a listening socket.
 *
 * A unix socket left by a dead process is replaced; one that answers is not. Its mode is 0660 unless asked otherwise.
 *
 * @param alpn protocols offered when the address has TLS
 * @throws already-exists when another process serves the path, unavailable when it cannot be made
 */
export async function openListener(
  address: ListenAddress,
  accept: (socket: ByteStream) => void,
  alpn: readonly string[] = [],
): Promise<Listener> {
  if ("fd" in address)
    return started(
      nodeNet().createServer({ allowHalfOpen: true }, accept),
      { fd: address.fd },
      `fd ${address.fd}`,
    );
  if ("host" in address) {
    const where = `${address.host}:${address.port}`;
    const server =
      address.tls === undefined
        ? nodeNet().createServer({ allowHalfOpen: true }, accept)
        : await tlsServer(address.tls, accept, alpn);
    return started(server, { host: address.host, port: address.port }, where);
  }
  const { path } = address;
  return await openPath(address, (backlog) => listenStream(path, backlog, accept));
}

/** {@link openListener} at a path, whose connections are whole streams of node:net. */
export function openStreamListener(
  address: UnixAddress,
  accept: (socket: Socket) => void,
): Promise<Listener> {
  return openPath(address, (backlog) => listenNode(address.path, backlog, accept));
}

type UnixAddress = Extract<ListenAddress, { readonly path: string }>;
type Listen = (backlog: number) => StreamListener | Promise<StreamListener>;

async function openPath(address: UnixAddress, listen: Listen): Promise<Listener> {
  const { path } = address;
  return listenerAt(path, await listenAt(address, listen));
}

/** {@link openListener} on an fd that listens at `path` already (Bun only). */
export function adoptListenerAt(path: string, fd: number, accept: (socket: ByteStream) => void): Listener {
  return listenerAt(path, adoptListener(fd, accept));
}

function listenerAt(path: string, listener: StreamListener): Listener {
  const inode = lstatSync(path, { throwIfNoEntry: false })?.ino;
  return {
    port: undefined,
    fd: listener.fd,
    async close() {
      // Some runtimes remove the file on close whoever made it: take ours away first, so a successor's stays.
      try {
        if (inode !== undefined && lstatSync(path).ino === inode) unlinkSync(path);
      } catch {
        // Gone already.
      }
      listener.close();
    },
  };
}

async function listenAt(address: UnixAddress, listen: Listen): Promise<StreamListener> {
  const { path, mode, uid, gid } = address;
  try {
    return await listenUnix(path, listen, {
      ...(mode === undefined ? {} : { mode }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
  } catch (err) {
    const code = err instanceof Error && "code" in err ? err.code : undefined;
    if (code === "EADDRINUSE")
      throw alreadyExists(`listen on "${path}": another process serves it`, { cause: err });
    if (code === "EEXIST")
      throw alreadyExists(`listen on "${path}": a file that is not a socket`, { cause: err });
    if (code === "ENAMETOOLONG")
      throw invalidArgument(`listen on "${path}": a socket path has at most ${MAX_SOCKET_PATH} bytes`, {
        cause: err,
      });
    throw unavailable(`listen on "${path}": ${messageOf(err)}`, { cause: err });
  }
}

async function tlsServer(
  tls: ServerTls,
  accept: (socket: ByteStream) => void,
  alpn: readonly string[],
): Promise<Server> {
  const { createServer: createTls } = await import("node:tls");
  const client = tls.ca === undefined ? {} : { ca: tls.ca, requestCert: true, rejectUnauthorized: true };
  const { commonName } = tls;
  return createTls({ cert: tls.cert, key: tls.key, ALPNProtocols: [...alpn], ...client }, (socket) => {
    if (commonName !== undefined && socket.getPeerCertificate().subject?.CN !== commonName) socket.destroy();
    else accept(socket);
  });
}

function started(
  server: Server,
  where: { path: string } | { fd: number } | { host: string; port: number },
  name: string,
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    const failed = (err: Error): void =>
      reject(unavailable(`listen on "${name}": ${messageOf(err)}`, { cause: err }));
    server.once("error", failed);
    server.listen({ ...where, backlog: BACKLOG }, () => {
      server.off("error", failed);
      resolve(listenerOf(server));
    });
  });
}

function listenerOf(server: Server): Listener {
  server.on("error", () => {});
  const bound = server.address();
  return {
    port: typeof bound === "object" && bound !== null ? bound.port : undefined,
    // Connections are ended by the server that owns them; closing does not wait for them.
    async close() {
      server.close();
    },
  };
}
