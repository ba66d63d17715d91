/** Connecting sockets of both clients. */

import type { Socket } from "node:net";
import { deadlineExceeded, type GantryError, messageOf, unavailable } from "../core/errors.ts";
import { type ByteStream, connectStream, nodeNet } from "../platform/net/byte-stream.ts";

/** Where a client connects to. A path may have `unix://` in front; `@name` is an abstract socket. */
export type ConnectAddress =
  | { readonly path: string }
  | {
      readonly host: string;
      readonly port: number;
      readonly tls?: ClientTls | undefined;
    };

/** TLS of a client. PEM texts. */
export interface ClientTls {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly servername?: string | undefined;
}

/** The address as it is shown in errors. */
export function addressText(address: ConnectAddress): string {
  return "path" in address ? address.path : `${address.host}:${address.port}`;
}

/**
 * Opens a connected socket.
 * @param alpn protocols offered over TLS
 * @throws unavailable with a hint, or deadline-exceeded after `timeoutMs`
 */
export async function openSocket(
  address: ConnectAddress,
  timeoutMs: number,
  alpn: readonly string[] = [],
): Promise<ByteStream> {
  if ("path" in address) return await openPath(address.path, timeoutMs);
  const secure = "tls" in address && address.tls !== undefined ? await import("node:tls") : undefined;
  return new Promise((resolve, reject) => {
    // Made and listened to in one turn: an error may come in the next.
    const socket = begin(address, alpn, secure);
    const timer = setTimeout(() => {
      socket.destroy();
      reject(deadlineExceeded(`connect to "${addressText(address)}": context deadline exceeded`));
    }, timeoutMs);
    const failed = (err: Error): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(connectError(address, err));
    };
    socket.once("error", failed);
    // A destroyed socket may report once more; the connection that takes it over adds its own listener.
    socket.on("error", () => {});
    socket.once(secure === undefined ? "connect" : "secureConnect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      resolve(socket);
    });
  });
}

async function openPath(path: string, timeoutMs: number): Promise<ByteStream> {
  let timer: NodeJS.Timeout | undefined;
  let late = false;
  const connecting = connectStream(path.replace(/^unix:\/\//, ""));
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true;
      reject(deadlineExceeded(`connect to "${path}": context deadline exceeded`));
    }, timeoutMs);
  });
  connecting.then(
    (stream) => {
      if (late) stream.destroy();
    },
    () => {},
  );
  try {
    return await Promise.race([
      connecting.catch((err: unknown) => {
        throw connectError({ path }, err instanceof Error ? err : new Error(String(err)));
      }),
      timeout,
    ]);
  } finally {
    clearTimeout(timer);
  }
}

function begin(
  address: Exclude<ConnectAddress, { readonly path: string }>,
  alpn: readonly string[],
  secure: typeof import("node:tls") | undefined,
): Socket {
  const { host, port, tls } = address;
  if (tls === undefined || secure === undefined) return nodeNet().connect({ host, port, noDelay: true });
  const { ca, cert, key } = tls;
  return secure.connect({
    host,
    port,
    ALPNProtocols: [...alpn],
    // an address is checked against the certificate, but is no name to ask for
    ...(tls.servername !== undefined
      ? { servername: tls.servername }
      : nodeNet().isIP(host) !== 0
        ? {}
        : { servername: host }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  });
}

function connectError(address: ConnectAddress, err: Error): GantryError {
  const code = "code" in err ? err.code : undefined;
  const text = addressText(address);
  const fail = (reason: string, hint: string): GantryError =>
    unavailable(`connect to "${text}": ${reason}`, { cause: err, hint });
  switch (code) {
    case "ENOENT":
      return fail(
        "no such file or directory",
        "start the engine (systemctl start containerd), or give the address of its socket",
      );
    case "ECONNREFUSED":
      return fail(
        "connection refused",
        "the engine does not run: systemctl start containerd; journalctl -u containerd says why it ended",
      );
    case "EACCES":
    case "EPERM":
      return fail("permission denied", "use sudo, or be a member of the socket's group ([grpc] gid)");
    default:
      return unavailable(`connect to "${text}": ${messageOf(err)}`, { cause: err });
  }
}
