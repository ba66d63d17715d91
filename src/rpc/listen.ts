/** Listening sockets of both servers. */
import { Buffer } from "node:buffer";
import { chmodSync, chownSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { alreadyExists, invalidArgument, messageOf, unavailable } from "../core/errors.ts";
import type { ListenAddress } from "./types.ts";

/** A socket that accepts connections. */
export interface Listener {
  /** The TCP port, when there is one. */
  readonly port: number | undefined;
  /** Stops accepting; open connections go on. A unix socket file that is still ours is removed. */
  close(): Promise<void>;
}

/** Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn. */
const BACKLOG = 4096;
/** Default mode of a unix socket: owner and group, as containerd has it. */
const DEFAULT_MODE = 0o660;

/**
 * Opens a listening socket.
 *
 * A unix socket left by a dead process is replaced; one that answers is not. It is made under a tight umask and gets
 * its owner, then its mode, so it is never open wider than asked.
 *
 * @param alpn protocols offered when the address has TLS
 * @throws already-exists when another process serves the path, unavailable when it cannot be made
 */
export async function openListener(
  address: ListenAddress,
  accept: (socket: Socket) => void,
  alpn: readonly string[] = [],
): Promise<Listener> {
  if ("fd" in address)
    return started(createServer({ allowHalfOpen: true }, accept), { fd: address.fd }, `fd ${address.fd}`);
  if ("host" in address) {
    const where = `${address.host}:${address.port}`;
    const server =
      address.tls === undefined
        ? createServer({ allowHalfOpen: true }, accept)
        : await tlsServer(address.tls, accept, alpn);
    return started(server, { host: address.host, port: address.port }, where);
  }
  const { path } = address;
  if (Buffer.byteLength(path) > 107)
    throw invalidArgument(`listen on "${path}": a socket path has at most 107 bytes`);
  await removeStale(path);
  const umask = process.umask(0o077);
  let starting: Promise<Listener>;
  try {
    // bind(2) and listen(2) happen inside this call, before the umask is put back.
    starting = started(createServer({ allowHalfOpen: true }, accept), { path }, path);
  } finally {
    process.umask(umask);
  }
  const listener = await starting;
  if (address.uid !== undefined || address.gid !== undefined)
    chownSync(path, address.uid ?? process.getuid?.() ?? 0, address.gid ?? process.getgid?.() ?? 0);
  chmodSync(path, address.mode ?? DEFAULT_MODE);
  const inode = lstatSync(path).ino;
  return {
    port: undefined,
    async close() {
      // Some runtimes remove the file on close whoever made it: take ours away first, so a successor's stays.
      try {
        if (lstatSync(path).ino === inode) unlinkSync(path);
      } catch {
        // Gone already.
      }
      await listener.close();
    },
  };
}

async function tlsServer(
  tls: { cert: string; key: string; ca?: string | undefined },
  accept: (socket: Socket) => void,
  alpn: readonly string[],
): Promise<Server> {
  const { createServer: createTls } = await import("node:tls");
  const client = tls.ca === undefined ? {} : { ca: tls.ca, requestCert: true, rejectUnauthorized: true };
  return createTls({ cert: tls.cert, key: tls.key, ALPNProtocols: [...alpn], ...client }, accept);
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
      server.on("error", () => {});
      const bound = server.address();
      resolve({
        port: typeof bound === "object" && bound !== null ? bound.port : undefined,
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            // Connections are ended by the server that owns them; closing must not wait for them.
            done();
          }),
      });
    });
  });
}

async function removeStale(path: string): Promise<void> {
  try {
    if (!lstatSync(path).isSocket()) throw alreadyExists(`listen on "${path}": a file that is not a socket`);
  } catch (err) {
    if (err instanceof Error && "code" in err && err.code === "ENOENT") return;
    throw err;
  }
  if (await answers(path)) throw alreadyExists(`listen on "${path}": another process serves it`);
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}
