/** Uploads blobs and manifests. */
import { failedPrecondition, isUnavailable, unavailable, wrap } from "../core/errors.ts";
import type { Descriptor } from "../core/oci.ts";
import { backoffDelay, sleep } from "../lib/retry.ts";
import { isIndexType, isManifestType } from "../oci/media-types.ts";
import { redirectTarget } from "./client.ts";
import { isTransient, networkError, StatusError } from "./errors.ts";
import { hostName, type Session } from "./resolver.ts";
import type { HttpResponse } from "./transport.ts";
import type { RegistryHost } from "./types.ts";

/** Bytes of a blob from an offset. Opened anew for each try. */
export type OpenBlob = (offset: bigint) => AsyncIterable<Uint8Array>;

/** How to push one descriptor. */
export interface PushOptions {
  readonly desc: Descriptor;
  readonly open: OpenBlob;
  /** Repositories of the same registry that are known to have the blob. */
  readonly mountFrom?: readonly string[];
  /** Manifest: also name it by this tag. */
  readonly tag?: string | undefined;
  readonly progress?: (bytes: bigint) => void;
  readonly signal: AbortSignal;
  /** Size of one upload piece in bytes; a broken piece is sent again alone. Default: everything in one request. */
  readonly chunkBytes?: number;
}

/** What became of a push. */
export type PushOutcome = "exists" | "mounted" | "pushed";

/** Uploads to the registry of one session. */
export class Pusher {
  readonly #session: Session;
  readonly #initialDelayMs: number;

  /** @param initialDelayMs first wait after a broken upload */
  constructor(session: Session, initialDelayMs = 200) {
    this.#session = session;
    this.#initialDelayMs = initialDelayMs;
  }

  /** Uploads one descriptor unless it is there. @throws the masked failure */
  async push(options: PushOptions): Promise<PushOutcome> {
    const host = this.#session.hosts.find((h) => h.capabilities.has("push"));
    if (host === undefined)
      throw failedPrecondition(`push "${this.#session.text}": no host with the push capability`, {
        hint: 'add "push" to capabilities in hosts.toml',
      });
    try {
      const { mediaType } = options.desc;
      if (isManifestType(mediaType) || isIndexType(mediaType)) return await this.#manifest(host, options);
      return await this.#blob(host, options);
    } catch (err) {
      const error = networkError(err, new URL(`${hostName(host)}/`), options.signal);
      throw wrap(error, `failed to push ${options.desc.digest} to "${this.#session.text}"`);
    }
  }

  #scope(more: readonly string[] = []): string {
    const own = `repository:${this.#session.ref.repository}:pull,push`;
    return [own, ...more.map((r) => `repository:${r}:pull`)].join(" ");
  }

  async #exists(host: RegistryHost, path: string, desc: Descriptor, signal: AbortSignal): Promise<boolean> {
    const head = await this.#session.client.call(host, {
      method: "HEAD",
      path,
      headers: { accept: `${desc.mediaType}, */*` },
      scope: this.#scope(),
      signal,
      accept: [404, 405],
    });
    head.drop();
    if (head.status >= 300) return false;
    const digest = head.header("docker-content-digest");
    return digest === undefined ? path.endsWith(desc.digest) : digest === desc.digest;
  }

  async #manifest(host: RegistryHost, o: PushOptions): Promise<PushOutcome> {
    const { ref, client } = this.#session;
    const path = `/${ref.repository}/manifests/${o.tag ?? o.desc.digest}`;
    if (await this.#exists(host, path, o.desc, o.signal)) return "exists";
    const body = await collect(o.open(0n), o.desc);
    const response = await client.call(host, {
      method: "PUT",
      path,
      headers: { "content-type": o.desc.mediaType, "content-length": String(body.byteLength) },
      body: () => body,
      scope: this.#scope(),
      signal: o.signal,
    });
    response.drop();
    const digest = response.header("docker-content-digest");
    if (digest !== undefined && digest !== "" && digest !== o.desc.digest)
      throw failedPrecondition(`registry stored manifest as ${digest}`);
    o.progress?.(o.desc.size);
    return "pushed";
  }

  async #blob(host: RegistryHost, o: PushOptions): Promise<PushOutcome> {
    const { ref } = this.#session;
    if (await this.#exists(host, `/${ref.repository}/blobs/${o.desc.digest}`, o.desc, o.signal))
      return "exists";
    let upload: Upload | undefined;
    for (let barren = 1; ; barren++) {
      const before = upload?.at ?? 0n;
      if (upload === undefined) {
        const start = await this.#start(host, o);
        if (start === "mounted") return "mounted";
        upload = { url: start, at: 0n };
      }
      try {
        await this.#upload(host, upload, o);
        return "pushed";
      } catch (err) {
        if (o.signal.aborted || !retryUpload(err)) throw err;
        upload = await this.#received(host, upload, o);
        // As long as bytes arrive it goes on.
        if ((upload?.at ?? 0n) > before) barren = 0;
        else if (barren >= 5) throw err;
        await sleep(backoffDelay(barren + 1, { initialDelayMs: this.#initialDelayMs }), o.signal);
      }
    }
  }

  /** What the registry has of a broken upload; undefined = nothing that could be gone on with. */
  async #received(host: RegistryHost, upload: Upload, o: PushOptions): Promise<Upload | undefined> {
    const request = { method: "GET", path: upload.url, scope: this.#scope(), signal: o.signal } as const;
    try {
      const response = await this.#session.client.call(host, { ...request, attempts: 3 });
      response.drop();
      const at = received(response) ?? 0n;
      if (at > o.desc.size) return undefined;
      const location = response.header("location");
      return { url: location === undefined ? upload.url : redirectTarget(response.url, location), at };
    } catch (err) {
      if (o.signal.aborted) throw err;
      return undefined;
    }
  }

  /** Opens an upload, or has the blob mounted from a sibling repository. */
  async #start(host: RegistryHost, o: PushOptions): Promise<URL | "mounted"> {
    const { ref, client } = this.#session;
    const path = `/${ref.repository}/blobs/uploads/`;
    const siblings = (o.mountFrom ?? []).filter((r) => r !== ref.repository).slice(0, 3);
    let upload: URL | undefined;
    for (const from of [...siblings, undefined]) {
      const response = await client.call(host, {
        method: "POST",
        path,
        query: from === undefined ? {} : { mount: o.desc.digest, from },
        headers: { "content-length": "0" },
        scope: this.#scope(from === undefined ? [] : [from]),
        signal: o.signal,
        // A sibling we may not read: an ordinary upload will do.
        ...(from === undefined ? {} : { accept: [401, 403, 404] }),
      });
      response.drop();
      if (response.status === 201) return "mounted";
      if (response.status >= 300) continue;
      // Not mounted: the registry opened an ordinary upload. It serves when no other sibling has the blob.
      if (upload !== undefined) await this.#cancel(host, upload, o);
      upload = uploadUrl(response);
      if (from === siblings.at(-1)) break;
    }
    if (upload === undefined) throw unavailable("start upload: no answer");
    return upload;
  }

  async #cancel(host: RegistryHost, url: URL, o: PushOptions): Promise<void> {
    const request = {
      method: "DELETE",
      path: url,
      scope: this.#scope(),
      signal: o.signal,
      attempts: 1,
    } as const;
    const response = await this.#session.client
      .call(host, { ...request, accept: [404, 405] })
      .catch(() => undefined);
    response?.drop();
  }

  /** Sends what is missing of an upload and closes it. `upload` follows, for another try. */
  async #upload(host: RegistryHost, upload: Upload, o: PushOptions): Promise<void> {
    const size = o.desc.size;
    const chunk = BigInt(o.chunkBytes ?? 0);
    // Whole in one request at first, as every client does; pieces when asked for, or after a break.
    const pieces = chunk > 0n || upload.at > 0n;
    while (pieces && upload.at < size) {
      const end = chunk > 0n && upload.at + chunk < size ? upload.at + chunk : size;
      const response = await this.#piece(host, upload.url, o, upload.at, end);
      upload.url = uploadUrl(response);
      upload.at = received(response) ?? end;
    }
    const url = new URL(upload.url);
    url.searchParams.set("digest", o.desc.digest);
    const rest = pieces ? 0n : size;
    const response = await this.#session.client.call(host, {
      method: "PUT",
      path: url,
      headers: { "content-type": "application/octet-stream", "content-length": String(rest) },
      ...(rest > 0n ? { body: () => counted(o, 0n, size) } : {}),
      scope: this.#scope(),
      signal: o.signal,
      attempts: 1,
    });
    response.drop();
    if (![200, 201, 202, 204].includes(response.status))
      throw new StatusError(response.status, `upload: unexpected status ${response.status}`, [], undefined);
  }

  async #piece(host: RegistryHost, url: URL, o: PushOptions, at: bigint, end: bigint): Promise<HttpResponse> {
    const response = await this.#session.client.call(host, {
      method: "PATCH",
      path: url,
      headers: {
        "content-type": "application/octet-stream",
        "content-length": String(end - at),
        "content-range": `${at}-${end - 1n}`,
      },
      body: () => counted(o, at, end),
      scope: this.#scope(),
      signal: o.signal,
      // Another try begins where the registry says, not where this one did.
      attempts: 1,
    });
    response.drop();
    return response;
  }
}

/** An open upload: where it goes on, and how many bytes the registry has. */
interface Upload {
  url: URL;
  at: bigint;
}

function retryUpload(err: unknown): boolean {
  return (
    isTransient(err) ||
    isUnavailable(err) ||
    (err instanceof StatusError && (err.status === 404 || err.status === 416))
  );
}

/** Where an upload goes on. @throws failed-precondition without a location, or one with a weaker scheme */
function uploadUrl(response: HttpResponse): URL {
  const location = response.header("location");
  if (location === undefined) throw failedPrecondition("upload: registry gave no location");
  return redirectTarget(response.url, location);
}

/** Bytes the server has, from `Range: 0-N`. */
function received(response: HttpResponse): bigint | undefined {
  const end = /^(?:bytes=)?0-(\d+)$/.exec(response.header("range") ?? "")?.[1];
  return end === undefined ? undefined : BigInt(end) + 1n;
}

async function* counted(
  o: PushOptions,
  from: bigint,
  to: bigint,
): AsyncGenerator<Uint8Array, void, undefined> {
  let at = from;
  for await (const part of o.open(from)) {
    const room = to - at;
    const piece = BigInt(part.byteLength) > room ? part.subarray(0, Number(room)) : part;
    at += BigInt(piece.byteLength);
    yield piece;
    o.progress?.(at);
    if (at >= to) return;
  }
}

async function collect(source: AsyncIterable<Uint8Array>, desc: Descriptor): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(new Uint8Array(part));
  const all = Buffer.concat(parts);
  if (BigInt(all.byteLength) !== desc.size)
    throw failedPrecondition(`manifest ${desc.digest}: stored size differs`);
  return all;
}
