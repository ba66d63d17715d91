import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { COMMAND_PROTOCOLS } from "./spdy/command.ts";
import { FORWARD_PROTOCOL } from "./spdy/forward.ts";
import { WEBSOCKET_COMMAND_PROTOCOLS } from "./websocket/command.ts";
import { TUNNEL_PROTOCOL, WEBSOCKET_FORWARD_PROTOCOLS } from "./websocket/forward.ts";

/** RFC 6455, 1.3. */
const WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** What the client asked for and the server can do. */
export type Upgrade =
  | { readonly kind: "spdy"; readonly protocol: string }
  | { readonly kind: "websocket"; readonly protocol: string; readonly accept: string };

/** Why a request is not upgraded: a status, its text, headers. */
export interface Refusal {
  readonly kind: "refused";
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a path serves. */
export type Service = "command" | "forward";

/** Reads the upgrade a request asks for. Pure; nothing is sent. */
export function negotiate(request: IncomingMessage, service: Service): Upgrade | Refusal {
  const { headers } = request;
  const upgrade = (headers.upgrade ?? "").toLowerCase();
  if (!/(^|[\s,])upgrade([\s,]|$)/i.test(headers.connection ?? "")) return refuse(400, "unable to upgrade");
  if (upgrade === "websocket") return negotiateWebSocket(request, service);
  if (upgrade !== "spdy/3.1") return refuse(400, "unable to upgrade: missing upgrade headers in request");
  const known = service === "command" ? COMMAND_PROTOCOLS : [FORWARD_PROTOCOL];
  const asked = list(headers["x-stream-protocol-version"]);
  const oldest = known[known.length - 1] ?? "";
  // Clients older than the negotiation name nothing.
  const protocol = asked.length === 0 ? oldest : asked.find((name) => known.includes(name));
  if (protocol !== undefined) return { kind: "spdy", protocol };
  return {
    ...refuse(403, `unable to upgrade: unable to negotiate protocol: client supports ${asked.join(", ")}`),
    headers: { "X-Accepted-Stream-Protocol-Versions": known.join(", ") },
  };
}

function negotiateWebSocket(request: IncomingMessage, service: Service): Upgrade | Refusal {
  const { headers, method } = request;
  const key = headers["sec-websocket-key"] ?? "";
  if (method !== "GET") return refuse(405, "unable to upgrade websocket connection: method");
  if (headers["sec-websocket-version"] !== "13") {
    return { ...refuse(426, "websocket version 13 wanted"), headers: { "Sec-WebSocket-Version": "13" } };
  }
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return refuse(400, "unable to upgrade websocket connection: key");
  const known =
    service === "command"
      ? [...WEBSOCKET_COMMAND_PROTOCOLS.keys()]
      : [TUNNEL_PROTOCOL, ...WEBSOCKET_FORWARD_PROTOCOLS.keys()];
  const asked = list(headers["sec-websocket-protocol"]);
  const protocol = asked.length === 0 ? "" : asked.find((name) => known.includes(name));
  if (protocol === undefined)
    return refuse(403, "unable to upgrade websocket connection: no common protocol");
  const accept = createHash("sha1")
    .update(key + WEBSOCKET_GUID)
    .digest("base64");
  return { kind: "websocket", protocol, accept };
}

/** Sends 101 and what the protocol wants said. */
export function acceptUpgrade(socket: Duplex, upgrade: Upgrade): void {
  const lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade"];
  if (upgrade.kind === "spdy") {
    lines.push("Upgrade: SPDY/3.1", `X-Stream-Protocol-Version: ${upgrade.protocol}`);
  } else {
    lines.push("Upgrade: websocket", `Sec-WebSocket-Accept: ${upgrade.accept}`);
    if (upgrade.protocol !== "") lines.push(`Sec-WebSocket-Protocol: ${upgrade.protocol}`);
  }
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
}

/** Sends an HTTP error on a socket that asked for an upgrade, and closes it. */
export function refuseUpgrade(socket: Duplex, refusal: Refusal): void {
  const body = `${refusal.text}\n`;
  const lines = [
    `HTTP/1.1 ${refusal.status} Refused`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...Object.entries(refusal.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.on("error", () => {});
  socket.end(`${lines.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

export function refuse(status: number, text: string): Refusal {
  return { kind: "refused", status, text };
}

/** Values of a header that may be repeated and may hold several, separated by commas. */
function list(header: string | readonly string[] | undefined): string[] {
  const text = typeof header === "string" ? header : (header ?? []).join(",");
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}
