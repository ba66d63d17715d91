/** Downloads blobs and manifests: resumed after resets, never longer or shorter than the descriptor says. */
import { createHash } from "node:crypto";
import type { Transform } from "node:stream";
import { failedPrecondition, GantryError, outOfRange, unavailable } from "../core/errors.ts";
import { algorithmOf, type Digest } from "../core/ids/digest.ts";
import type { Descriptor } from "../core/oci.ts";
import { createDeferred } from "../lib/deferred.ts";
import { backoffDelay, sleep } from "../lib/retry.ts";
import { isIndexType, isManifestType, isNonDistributable } from "../oci/media-types.ts";
import { type Attempt, combine, isTransient, networkError } from "./errors.ts";
import { type OpenRange, parallelRanges, type RangeOptions } from "./ranges.ts";
import { hostName, mirrorQuery, pullScope, type Session } from "./resolver.ts";
import { type StallLimits, watchStall } from "./stall.ts";
import type { HttpResponse } from "./transport.ts";
import type { RegistryHost } from "./types.ts";

/** How hard a download tries. */
export interface FetchLimits {
  readonly stall?: StallLimits;
  /** Broken tries in a row without one new byte before giving up on a host. Default 5. */
  readonly barrenTries?: number;
  /** Broken tries in all. Default 200. */
  readonly totalTries?: number;
  readonly initialDelayMs?: number;
}

/** One open answer. */
interface Opened {
  readonly response: HttpResponse;
  readonly host: RegistryHost | undefined;
  /** Bytes at the front that are already known: the server ignored the range. */
  readonly skip: number;
}

/** Downloads what descriptors name, from the hosts of one session. */
export class Fetcher {
  readonly #session: Session;
  readonly #limits: FetchLimits;
  /** Hosts that gave wrong bytes, by digest. */
  readonly #distrusted = new Map<Digest, Set<RegistryHost>>();
  readonly #lastHost = new Map<Digest, RegistryHost>();

  constructor(session: Session, limits: FetchLimits = {}) {
    this.#session = session;
    this.#limits = limits;
  }

  /** The host that gave the last bytes of `digest` gave wrong ones: others are asked first from now on. */
  distrust(digest: Digest): void {
    const host = this.#lastHost.get(digest);
    if (host === undefined) return;
    const set = this.#distrusted.get(digest) ?? new Set();
    this.#distrusted.set(digest, set.add(host));
  }

  /**
   * Streams the bytes of `desc` from `offset`, exactly up to `desc.size`. Digests are the caller's work.
   * @param ranges fetch several ranges at a time when the blob is large enough and the server can
   * @throws not-found, unavailable (gave up, stalled), failed-precondition (too long), canceled
   */
  async *stream(
    desc: Descriptor,
    offset: bigint,
    signal: AbortSignal,
    ranges?: RangeOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const size = Number(desc.size);
    const at = Number(offset);
    if (at > size) throw outOfRange(`fetch ${desc.digest}: offset ${at} beyond size ${size}`);
    if (ranges === undefined || size - at < 2 * ranges.chunkBytes) {
      yield* this.#span(desc, at, size, signal);
      return;
    }
    // The first range tells whether the server knows ranges; one that does not sends everything from there on.
    const to = at + ranges.chunkBytes;
    const stop = new AbortController();
    const inner = AbortSignal.any([signal, stop.signal]);
    const open: OpenRange = (from, end, s) => this.#span(desc, from, end, s);
    const own = createDeferred<void>();
    const rest = parallelRanges(open, to, size, ranges, inner, own.promise);
    let next: ReturnType<typeof rest.next> | undefined;
    const known = (): void => {
      next ??= rest.next();
      next.catch(() => {}); // seen when its turn comes
    };
    const first: FirstRange = { whole: false, known };
    try {
      yield* this.#span(desc, at, to, signal, first);
      if (first.whole) return;
      own.resolve();
      known();
      for (let got = await next; got?.done === false; got = await rest.next()) yield got.value;
    } finally {
      stop.abort();
      own.resolve();
      rest.return().catch(() => {});
    }
  }

  /** The bytes of `[from, to)`. With `first`, a server that ignores the range is read to the blob's end. */
  async *#span(
    desc: Descriptor,
    from: number,
    to: number,
    signal: AbortSignal,
    first?: FirstRange,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const size = Number(desc.size);
    let end = to;
    let at = from;
    let barren = 0;
    let total = 0;
    while (at < end) {
      const before = at;
      try {
        const opened = await this.#open(desc, at, end < size ? end : undefined, signal);
        if (opened.host !== undefined) this.#lastHost.set(desc.digest, opened.host);
        if (first !== undefined) {
          if (opened.response.status === 206) first.known();
          else {
            first.whole = true;
            end = size;
          }
        }
        for await (const chunk of this.#once(desc, opened)) {
          const room = end - at;
          if (chunk.byteLength <= room) {
            at += chunk.byteLength;
            yield chunk;
            continue;
          }
          if (end === size)
            throw failedPrecondition(
              `fetch ${desc.digest}: registry sent more than the ${size} bytes of the descriptor`,
            );
          // The server went on behind the range that was asked for.
          at = end;
          yield chunk.subarray(0, room);
          break;
        }
        if (at < end)
          throw unavailable(`fetch ${desc.digest}: connection closed after ${at} of ${size} bytes (stalled)`);
      } catch (err) {
        if (signal.aborted || !(err instanceof TransferBroken || isTransient(err)))
          throw this.#typed(err, desc, signal);
        barren = at > before ? 0 : barren + 1;
        total += 1;
        if (barren >= (this.#limits.barrenTries ?? 5) || total >= (this.#limits.totalTries ?? 200))
          throw this.#typed(err, desc, signal);
        const initialDelayMs = this.#limits.initialDelayMs ?? 100;
        await sleep(backoffDelay(barren + 1, { initialDelayMs, maxDelayMs: 10_000 }), signal);
      }
    }
  }

  #typed(err: unknown, desc: Descriptor, signal: AbortSignal): GantryError {
    if (err instanceof TransferBroken) return this.#typed(err.cause, desc, signal);
    if (err instanceof GantryError) return err;
    const host = this.#lastHost.get(desc.digest);
    const url = new URL(`${host === undefined ? "http://registry" : hostName(host)}/${desc.digest}`);
    return networkError(err, url, signal);
  }

  /** A whole small document, checked against its digest. @throws also failed-precondition on a wrong digest */
  async read(desc: Descriptor, max: number, signal: AbortSignal): Promise<Uint8Array> {
    if (desc.size > BigInt(max))
      throw failedPrecondition(`fetch ${desc.digest}: ${desc.size} bytes, larger than ${max}`);
    for (let round = 0; ; round++) {
      const parts: Uint8Array[] = [];
      const hash = createHash(algorithmOf(desc.digest));
      for await (const part of this.stream(desc, 0n, signal)) {
        hash.update(part);
        parts.push(new Uint8Array(part));
      }
      const got = `${algorithmOf(desc.digest)}:${hash.digest("hex")}`;
      if (got === desc.digest) return Buffer.concat(parts);
      this.distrust(desc.digest);
      if (round >= 1) throw failedPrecondition(`fetch ${desc.digest}: unexpected digest ${got}`);
    }
  }

  /** The descriptor of a blob or manifest of which only the digest is known. @throws not-found, unavailable (no size told) */
  async describe(digest: Digest, mediaType: string, signal: AbortSignal): Promise<Descriptor> {
    const { ref, client, text } = this.#session;
    const attempts: Attempt[] = [];
    for (const host of this.#order(digest)) {
      for (const kind of kindsOf({ mediaType, digest, size: 0n })) {
        try {
          const path = `/${ref.repository}/${kind}/${digest}`;
          const query = mirrorQuery(host, ref);
          const headers = { accept: kind === "manifests" ? `${mediaType}, */*` : "*/*" };
          const request = { method: "HEAD", path, query, headers, scope: pullScope(ref), signal } as const;
          const response = await client.call(host, request);
          response.drop();
          const length = response.header("content-length") ?? "";
          if (!/^\d{1,15}$/.test(length)) throw unavailable(`describe ${digest}: the registry told no size`);
          return { mediaType, digest, size: BigInt(length) };
        } catch (err) {
          const error = networkError(err, new URL(`${hostName(host)}/`), signal);
          if (signal.aborted) throw error;
          attempts.push({ where: hostName(host), error });
        }
      }
    }
    throw combine(`failed to find ${digest} of "${text}"`, attempts);
  }

  async *#once(desc: Descriptor, { response, skip }: Opened): AsyncGenerator<Uint8Array, void, undefined> {
    let drop = skip;
    let ended = false;
    try {
      const what = `fetch ${desc.digest} from ${response.url.host}`;
      const body = await decoded(response);
      for await (const chunk of watchStall(body, what, this.#limits.stall)) {
        if (drop >= chunk.byteLength) {
          drop -= chunk.byteLength;
          continue;
        }
        const rest = drop > 0 ? chunk.subarray(drop) : chunk;
        drop = 0;
        yield rest;
      }
      ended = true;
    } catch (err) {
      if (err instanceof GantryError && err.code !== "unavailable") throw err;
      throw new TransferBroken(err);
    } finally {
      if (!ended) response.drop();
    }
  }

  /** @param to end of the range; undefined = the blob's end */
  async #open(desc: Descriptor, at: number, to: number | undefined, signal: AbortSignal): Promise<Opened> {
    const attempts: Attempt[] = [];
    for (const host of this.#order(desc.digest)) {
      for (const kind of kindsOf(desc)) {
        try {
          return await this.#openAt(desc, host, kind, at, to, signal);
        } catch (err) {
          const error = networkError(err, new URL(`${hostName(host)}/`), signal);
          if (signal.aborted) throw error;
          attempts.push({ where: hostName(host), error });
          if (error.code !== "not-found") break;
        }
      }
    }
    for (const url of foreignUrls(desc)) {
      try {
        return await this.#openForeign(url, at, to, signal);
      } catch (err) {
        attempts.push({ where: url.host, error: networkError(err, url, signal) });
      }
    }
    throw combine(`failed to fetch ${desc.digest} of "${this.#session.text}"`, attempts);
  }

  #order(digest: Digest): RegistryHost[] {
    const last = this.#lastHost.get(digest);
    // Who gave a part of a blob is asked first for the next part, not the mirrors that lack it.
    const able = this.#session.hosts
      .filter((h) => h.capabilities.has("pull"))
      .sort((a, b) => Number(b === last) - Number(a === last));
    const bad = this.#distrusted.get(digest);
    if (bad === undefined) return able;
    return [...able.filter((h) => !bad.has(h)), ...able.filter((h) => bad.has(h))];
  }

  async #openAt(
    desc: Descriptor,
    host: RegistryHost,
    kind: string,
    at: number,
    to: number | undefined,
    signal: AbortSignal,
  ): Promise<Opened> {
    const { ref, client } = this.#session;
    const response = await client.call(host, {
      method: "GET",
      path: `/${ref.repository}/${kind}/${desc.digest}`,
      query: mirrorQuery(host, ref),
      headers: {
        accept: kind === "manifests" ? `${desc.mediaType}, */*` : "*/*",
        ...rangeHeader(at, to),
      },
      scope: pullScope(ref),
      signal,
    });
    return { response, host, skip: rangeSkip(response, at) };
  }

  /** Layer `urls` point anywhere: they get no credentials and no headers of ours (S14). */
  async #openForeign(url: URL, at: number, to: number | undefined, signal: AbortSignal): Promise<Opened> {
    const scheme = url.protocol === "http:" ? "http" : "https";
    const host: RegistryHost = {
      scheme,
      // Never equal to the URL's host, so that nothing is trusted with it.
      host: "foreign.invalid",
      path: "",
      capabilities: new Set(),
      headers: new Map(),
      tls: {},
      mirror: false,
      guessScheme: false,
    };
    const response = await this.#session.client.call(host, {
      method: "GET",
      path: url,
      headers: rangeHeader(at, to),
      scope: "",
      signal,
    });
    return { response, host: undefined, skip: rangeSkip(response, at) };
  }
}

/** What the answer to a blob's first range tells. */
interface FirstRange {
  /** The server sends everything. */
  whole: boolean;
  /** The server knows ranges: the others may start. */
  readonly known: () => void;
}

/** A download that broke in the middle. */
class TransferBroken extends Error {
  constructor(cause: unknown) {
    super("transfer broken", { cause });
    this.name = "TransferBroken";
  }
}

function kindsOf(desc: Descriptor): readonly string[] {
  return isManifestType(desc.mediaType) || isIndexType(desc.mediaType) ? ["manifests", "blobs"] : ["blobs"];
}

function foreignUrls(desc: Descriptor): URL[] {
  if (!isNonDistributable(desc.mediaType)) return [];
  return (desc.urls ?? []).filter((u) => /^https?:\/\//i.test(u) && URL.canParse(u)).map((u) => new URL(u));
}

function rangeHeader(at: number, to: number | undefined): Record<string, string> {
  if (to !== undefined) return { range: `bytes=${at}-${to - 1}` };
  return at > 0 ? { range: `bytes=${at}-` } : {};
}

/** Bytes to drop at the front of an answer to `bytes=AT-`. @throws unavailable when the range is another one */
function rangeSkip(response: HttpResponse, at: number): number {
  if (response.status !== 206) return at;
  const start = /^bytes (\d+)-/.exec(response.header("content-range") ?? "")?.[1];
  if (start !== undefined && Number(start) === at) return 0;
  response.drop();
  throw unavailable(
    `fetch from ${response.url.host}: asked for bytes from ${at}, got "${start ?? "?"}" (stalled)`,
  );
}

/** The body without a content coding: some proxies add one although `identity` was asked for. */
async function decoded(response: HttpResponse): Promise<AsyncIterable<Uint8Array>> {
  const coding = (response.header("content-encoding") ?? "").trim().toLowerCase();
  if (coding === "" || coding === "identity") return response.body;
  const zlib = await import("node:zlib");
  const make: Readonly<Record<string, () => Transform>> = {
    gzip: () => zlib.createGunzip(),
    "x-gzip": () => zlib.createGunzip(),
    deflate: () => zlib.createInflate(),
    zstd: () => zlib.createZstdDecompress(),
  };
  const decoder = make[coding]?.();
  if (decoder === undefined)
    throw failedPrecondition(
      `fetch from ${response.url.host}: unknown content encoding "${coding.slice(0, 32)}"`,
    );
  const { pipeline, Readable } = await import("node:stream");
  pipeline(Readable.from(response.body), decoder, () => {});
  return decoder;
}
