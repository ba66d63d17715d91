/**
 * A registry that misbehaves on demand: blobs and manifests in memory, and a list of faults, each of which applies to the
 * requests it matches until it is used up. Plain HTTP on a loopback port, or TLS when given a certificate.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { gzipSync } from "node:zlib";

/** What goes wrong with one request. */
export interface Fault {
  /** Part of `METHOD /path`, or a pattern. Default: every request. */
  readonly match?: string | RegExp;
  /** How many requests. Default 1. */
  readonly times?: number;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Send this many bytes of the body, then break the connection. */
  readonly resetAfter?: number;
  /** Send this many bytes, then nothing more; the connection stays open. */
  readonly stallAfter?: number;
  /** Keep this many bytes of an upload's body, then break the connection. */
  readonly breakAfter?: number;
  /** Answer only when this resolves. */
  readonly hold?: Promise<void>;
  /** Do not answer at all. */
  readonly silent?: boolean;
  /** Send other bytes of the same length. */
  readonly corrupt?: boolean;
  /** Claim and send fewer bytes. */
  readonly truncate?: number;
  /** Send this many bytes more. */
  readonly extra?: number;
  /** Ignore the Range header. */
  readonly noRange?: boolean;
  /** Send the body gzip-coded although nobody asked. */
  readonly gzip?: boolean;
}

/** How clients must prove who they are. */
export interface FakeAuth {
  readonly kind: "basic" | "bearer";
  readonly username: string;
  readonly password: string;
  /** Refresh token taken by POST. */
  readonly refreshToken?: string;
  /** Seconds; default 60. */
  readonly expiresIn?: number;
  /** Token server; default: the registry itself. */
  readonly realm?: string;
}

/** One request as it came. */
export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<IncomingMessage["headers"]>;
}

interface Options {
  readonly auth?: FakeAuth;
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
}

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** See the file's comment. */
export class FakeRegistry implements AsyncDisposable {
  readonly blobs = new Map<string, Uint8Array>();
  /** `repo:tag` or `repo@digest` to media type and bytes. */
  readonly manifests = new Map<string, { readonly type: string; readonly bytes: Uint8Array }>();
  readonly faults: (Fault & { left: number })[] = [];
  readonly seen: Seen[] = [];
  readonly tokens = new Set<string>();
  auth: FakeAuth | undefined;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #uploads = new Map<string, Uint8Array>();
  #uploadCount = 0;
  readonly #tls: boolean;

  private constructor(options: Options) {
    this.auth = options.auth;
    this.#tls = options.tls !== undefined;
    const handle = (req: IncomingMessage, res: ServerResponse): void => {
      this.#handle(req, res).catch(() => res.destroy());
    };
    this.#server =
      options.tls === undefined
        ? createServer(handle)
        : createTlsServer(
            {
              ...options.tls,
              requestCert: options.tls.ca !== undefined,
              rejectUnauthorized: options.tls.ca !== undefined,
            },
            handle,
          );
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** Starts on a free loopback port. */
  static async start(options: Options = {}): Promise<FakeRegistry> {
    const registry = new FakeRegistry(options);
    await new Promise<void>((resolve) => registry.#server.listen(0, "127.0.0.1", resolve));
    return registry;
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get url(): string {
    return `${this.#tls ? "https" : "http"}://${this.host}`;
  }

  /** Open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Bytes of the blob answers' bodies that were handed to connections. */
  sent = 0;

  /** Rate of each answer's body; undefined = as fast as it goes. */
  bytesPerSecond: number | undefined;
  /** Bodies being sent right now, and the most there were at a time. */
  sending = { now: 0, most: 0 };

  /** Adds a fault. */
  fail(fault: Fault): void {
    this.faults.push({ ...fault, left: fault.times ?? 1 });
  }

  /** Adds a blob; its digest. */
  addBlob(bytes: Uint8Array): string {
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return digest;
  }

  /** Adds a manifest under a tag and its digest. */
  addManifest(repo: string, tag: string, value: unknown, type = MANIFEST): string {
    const bytes = value instanceof Uint8Array ? value : new TextEncoder().encode(JSON.stringify(value));
    const digest = digestOf(bytes);
    this.manifests.set(`${repo}:${tag}`, { type, bytes });
    this.manifests.set(`${repo}@${digest}`, { type, bytes });
    return digest;
  }

  /** An image of plain tar layers with a config for `linux/amd64`. */
  addImage(
    repo: string,
    tag: string,
    layers: readonly Uint8Array[],
    platform: { os: string; architecture: string; variant?: string } = { os: "linux", architecture: "amd64" },
  ): { digest: string; layers: string[]; config: string } {
    const diffIds = layers.map((l) => this.addBlob(l));
    const config = new TextEncoder().encode(
      JSON.stringify({ ...platform, config: {}, rootfs: { type: "layers", diff_ids: diffIds } }),
    );
    const configDigest = this.addBlob(config);
    const digest = this.addManifest(repo, tag, {
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: {
        mediaType: "application/vnd.oci.image.config.v1+json",
        digest: configDigest,
        size: config.length,
      },
      layers: layers.map((l, i) => ({
        mediaType: "application/vnd.oci.image.layer.v1.tar",
        digest: diffIds[i],
        size: l.length,
      })),
    });
    return { digest, layers: diffIds, config: configDigest };
  }

  /** Requests whose `METHOD /path` contains `part`. */
  requests(part: string): Seen[] {
    return this.seen.filter((s) => `${s.method} ${s.url}`.includes(part));
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #drip(res: ServerResponse, bytes: Uint8Array, rate: number): Promise<void> {
    this.sending.most = Math.max(this.sending.most, ++this.sending.now);
    const piece = Math.max(1, Math.floor(rate / 50));
    for (let at = 0; at + piece < bytes.length && !res.destroyed; at += piece) {
      res.write(bytes.subarray(at, at + piece));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.sending.now--;
    res.end(bytes.subarray(Math.floor((bytes.length - 1) / piece) * piece));
  }

  async #handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const method = req.method ?? "";
    const url = req.url ?? "";
    this.seen.push({ method, url, headers: req.headers });
    const fault = this.#fault(`${method} ${url}`);
    if (fault?.silent) return;
    await fault?.hold;
    if (fault?.status !== undefined) {
      res.writeHead(fault.status, fault.headers ?? {});
      res.end(fault.body ?? "");
      return;
    }
    const path = url.split("?", 1)[0] ?? "";
    const query = new URL(url, "http://x").searchParams;
    if (path === "/token") return this.#token(req, res, query);
    if (!this.#authorized(req)) return this.#challenge(res, path, method);
    if (fault?.breakAfter !== undefined) {
      const id = /\/blobs\/uploads\/([^/]+)$/.exec(path)?.[1] ?? "";
      const got = await readSome(req, fault.breakAfter);
      this.#uploads.set(id, Buffer.concat([this.#uploads.get(id) ?? new Uint8Array(), got]));
      res.socket?.destroy();
      return;
    }
    const body = ["POST", "PUT", "PATCH"].includes(method) ? await readAll(req) : new Uint8Array();
    this.#route(method, path, query, req, res, body, fault);
  }

  #fault(line: string): Fault | undefined {
    const found = this.faults.find((f) => {
      if (f.left <= 0) return false;
      if (f.match === undefined) return true;
      return typeof f.match === "string" ? line.includes(f.match) : f.match.test(line);
    });
    if (found !== undefined) found.left--;
    return found;
  }

  #authorized(req: IncomingMessage): boolean {
    if (this.auth === undefined) return true;
    const value = req.headers.authorization ?? "";
    if (this.auth.kind === "basic") return value === basic(this.auth);
    return value.startsWith("Bearer ") && this.tokens.has(value.slice("Bearer ".length));
  }

  #challenge(res: ServerResponse, path: string, method: string): void {
    const repo = /^\/v2\/(.+?)\/(?:manifests|blobs)\//.exec(path)?.[1];
    const actions = method === "GET" || method === "HEAD" ? "pull" : "pull,push";
    const scope = repo === undefined ? "" : `,scope="repository:${repo}:${actions}"`;
    const realm = this.auth?.realm ?? `${this.url}/token`;
    const value =
      this.auth?.kind === "basic"
        ? 'Basic realm="fake"'
        : `Bearer realm="${realm}",service="fake-service"${scope}`;
    res.writeHead(401, { "www-authenticate": value, "content-type": "application/json" });
    res.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "authentication required" }] }));
  }

  async #token(req: IncomingMessage, res: ServerResponse, query: URLSearchParams): Promise<void> {
    const auth = this.auth;
    const form =
      req.method === "POST" ? new URLSearchParams(Buffer.from(await readAll(req)).toString()) : undefined;
    const byRefresh =
      form?.get("refresh_token") !== undefined && form.get("refresh_token") === auth?.refreshToken;
    const byPassword = auth !== undefined && req.headers.authorization === basic(auth);
    if (auth === undefined || !(byRefresh || byPassword)) {
      res.writeHead(401).end("{}");
      return;
    }
    const token = `tok-${this.tokens.size}-${query.get("scope") ?? form?.get("scope") ?? ""}`.replace(
      /[^\w.-]/g,
      "_",
    );
    this.tokens.add(token);
    res.writeHead(200, { "content-type": "application/json" });
    res.end(JSON.stringify({ token, expires_in: auth.expiresIn ?? 60 }));
  }

  #route(
    method: string,
    path: string,
    query: URLSearchParams,
    req: IncomingMessage,
    res: ServerResponse,
    body: Uint8Array,
    fault: Fault | undefined,
  ): void {
    const manifest = /^\/v2\/(.+)\/manifests\/([^/]+)$/.exec(path);
    const bytes = this.blobs.get(/^\/v2\/.+\/blobs\/([^/]+)$/.exec(path)?.[1] ?? "");
    if (path === "/v2/") res.writeHead(200).end("{}");
    else if (manifest !== null)
      this.#manifest(method, manifest[1] ?? "", manifest[2] ?? "", req, res, body, fault);
    else if (/\/blobs\/uploads\//.test(path)) this.#upload(method, path, query, req, res, body);
    else if (bytes === undefined) notFound(res, "BLOB_UNKNOWN");
    else this.#bytes(method, req, res, bytes, { "docker-content-digest": digestOf(bytes) }, fault);
  }

  #manifest(
    method: string,
    repo: string,
    name: string,
    req: IncomingMessage,
    res: ServerResponse,
    body: Uint8Array,
    fault: Fault | undefined,
  ): void {
    if (method === "PUT") {
      const digest = digestOf(body);
      const entry = { type: req.headers["content-type"] ?? MANIFEST, bytes: body };
      this.manifests.set(`${repo}@${digest}`, entry);
      if (!name.startsWith("sha256:")) this.manifests.set(`${repo}:${name}`, entry);
      res.writeHead(201, { "docker-content-digest": digest }).end();
      return;
    }
    const found = this.manifests.get(name.includes(":") ? `${repo}@${name}` : `${repo}:${name}`);
    if (found === undefined) {
      notFound(res, "MANIFEST_UNKNOWN");
      return;
    }
    const headers = { "content-type": found.type, "docker-content-digest": digestOf(found.bytes) };
    this.#bytes(method, req, res, found.bytes, headers, fault);
  }

  #upload(
    method: string,
    path: string,
    query: URLSearchParams,
    req: IncomingMessage,
    res: ServerResponse,
    body: Uint8Array,
  ): void {
    if (method === "POST") {
      const mount = query.get("mount") ?? "";
      if (this.blobs.has(mount) && query.get("from") !== null) {
        res.writeHead(201, { location: path.replace("uploads/", mount) }).end();
        return;
      }
      const id = `u${this.#uploadCount++}`;
      this.#uploads.set(id, new Uint8Array());
      res.writeHead(202, { location: `${path}${id}?state=x` }).end();
      return;
    }
    const id = path.slice(path.lastIndexOf("/") + 1);
    const had = this.#uploads.get(id);
    if (had === undefined) {
      notFound(res, "BLOB_UPLOAD_UNKNOWN");
      return;
    }
    if (method === "GET") {
      res.writeHead(204, { location: `${path}?state=z`, range: `0-${Math.max(0, had.length - 1)}` }).end();
      return;
    }
    const from = /^(\d+)-/.exec(req.headers["content-range"] ?? "")?.[1];
    if (from !== undefined && Number(from) !== had.length) {
      res.writeHead(416).end();
      return;
    }
    const all = Buffer.concat([this.#uploads.get(id) ?? new Uint8Array(), body]);
    this.#uploads.set(id, all);
    if (method === "PATCH") {
      res.writeHead(202, { location: `${path}?state=y`, range: `0-${all.length - 1}` }).end();
      return;
    }
    const digest = query.get("digest") ?? "";
    if (digestOf(all) !== digest) {
      res.writeHead(400).end(JSON.stringify({ errors: [{ code: "DIGEST_INVALID", message: "digest" }] }));
      return;
    }
    this.blobs.set(digest, all);
    res.writeHead(201, { "docker-content-digest": digest }).end();
  }

  #bytes(
    method: string,
    req: IncomingMessage,
    res: ServerResponse,
    whole: Uint8Array,
    headers: Readonly<Record<string, string>>,
    fault: Fault | undefined,
  ): void {
    let bytes = whole;
    if (fault?.corrupt) bytes = bytes.map((b) => b ^ 0xff);
    if (fault?.truncate !== undefined) bytes = bytes.subarray(0, fault.truncate);
    if (fault?.extra !== undefined) bytes = Buffer.concat([bytes, new Uint8Array(fault.extra)]);
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(req.headers.range ?? "") ?? [];
    const start = Number(first ?? "0");
    const ranged = first !== undefined && !fault?.noRange;
    if (ranged && start >= bytes.length) {
      res.writeHead(416).end();
      return;
    }
    const end = Math.min(bytes.length, last ? Number(last) + 1 : bytes.length);
    const part = ranged ? bytes.subarray(start, end) : bytes;
    const range = ranged ? { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` } : {};
    if (fault?.gzip) {
      const coded = gzipSync(part);
      res
        .writeHead(200, { ...headers, "content-encoding": "gzip", "content-length": coded.length })
        .end(coded);
      return;
    }
    res.writeHead(ranged ? 206 : 200, { ...headers, ...range, "content-length": part.length });
    if (method === "HEAD") {
      res.end();
      return;
    }
    const cut = fault?.resetAfter ?? fault?.stallAfter;
    if (cut === undefined || cut >= part.length) {
      this.sent += part.length;
      if (this.bytesPerSecond === undefined) res.end(part);
      else void this.#drip(res, part, this.bytesPerSecond);
      return;
    }
    this.sent += Math.min(cut, part.length);
    res.write(part.subarray(0, cut), () => {
      if (fault?.resetAfter !== undefined) setImmediate(() => res.socket?.destroy());
    });
  }
}

function notFound(res: ServerResponse, code: string): void {
  res.writeHead(404, { "content-type": "application/json" });
  res.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replace("_", " ") }] }));
}

function basic(auth: FakeAuth): string {
  return `Basic ${Buffer.from(`${auth.username}:${auth.password}`).toString("base64")}`;
}

/** The first bytes of a body. */
async function readSome(req: IncomingMessage, length: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of req) {
    parts.push(part as Uint8Array);
    size += (part as Uint8Array).length;
    if (size >= length) break;
  }
  return Buffer.concat(parts).subarray(0, length);
}

async function readAll(req: IncomingMessage): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of req) parts.push(part as Uint8Array);
  return Buffer.concat(parts);
}

/** sha256 digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
