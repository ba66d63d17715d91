/**
 * An OpenTelemetry collector for tests: takes OTLP/HTTP in both encodings. It reads protobuf field by field with the numbers
 * of the public specification, not with the engine's own definitions.
 *
 *     bun test/fakes/otlp-collector.ts PORT    prints one line of JSON for each span (for other network namespaces)
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

/** A span as a backend sees it. */
export interface SeenSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** "" at the root. */
  readonly parentId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  /** Nanoseconds since the epoch, decimal. */
  readonly start: string;
  readonly end: string;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  /** 0 unset, 2 error. */
  readonly code: number;
  readonly message: string;
  /** Attributes of the process. */
  readonly resource: Readonly<Record<string, string | number | boolean>>;
}

/** A running collector. */
export class Collector implements AsyncDisposable {
  readonly spans: SeenSpan[] = [];
  /** Headers and paths of the requests, in order. */
  readonly requests: { readonly path: string; readonly headers: IncomingMessage["headers"] }[] = [];
  /** Status of the next answers; 200 when empty. */
  readonly answers: number[] = [];
  readonly #server: Server;
  #waiting: (() => void)[] = [];

  private constructor() {
    this.#server = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        const status = this.answers.shift() ?? 200;
        this.requests.push({ path: request.url ?? "", headers: request.headers });
        if (status === 200) {
          const raw = Buffer.concat(parts);
          const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
          const json = request.headers["content-type"] === "application/json";
          this.spans.push(...(json ? readJson(body.toString()) : readProtobuf(body)));
        }
        response.writeHead(status).end();
        for (const wake of this.#waiting.splice(0)) wake();
      });
    });
  }

  static async start(port = 0): Promise<Collector> {
    const made = new Collector();
    await new Promise<void>((resolve) => made.#server.listen(port, "127.0.0.1", resolve));
    return made;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Waits until `found` gives something; looks again after each request. */
  async until<T>(found: () => T | undefined): Promise<T> {
    for (;;) {
      const value = found();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

type Value = string | number | boolean;

/** Fields of a message: number, and varint or fixed64 as bigint, bytes as they are. */
function* fieldsOf(bytes: Buffer): Generator<readonly [number, bigint | Buffer]> {
  let at = 0;
  const varint = (): bigint => {
    let out = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at++);
      out |= BigInt(byte & 127) << shift;
      if (byte < 128) return out;
    }
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const wire = tag & 7;
    if (wire === 0) yield [tag >> 3, varint()];
    else if (wire === 1) {
      yield [tag >> 3, bytes.readBigUInt64LE(at)];
      at += 8;
    } else if (wire === 5) {
      yield [tag >> 3, BigInt(bytes.readUInt32LE(at))];
      at += 4;
    } else if (wire === 2) {
      const length = Number(varint());
      yield [tag >> 3, bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error(`wire type ${wire}`);
  }
}

const all = (bytes: Buffer, number: number): Buffer[] =>
  [...fieldsOf(bytes)].filter(([n]) => n === number).map(([, v]) => v as Buffer);
const first = (bytes: Buffer, number: number): bigint | Buffer | undefined =>
  [...fieldsOf(bytes)].find(([n]) => n === number)?.[1];
const text = (bytes: Buffer, number: number): string => (first(bytes, number) ?? "").toString();
const hex = (bytes: Buffer, number: number): string =>
  ((first(bytes, number) as Buffer | undefined) ?? Buffer.alloc(0)).toString("hex");

function attributesOf(pairs: readonly Buffer[]): Record<string, Value> {
  const out: Record<string, Value> = {};
  for (const pair of pairs) {
    const [[number, value] = [0, 0n]] = [...fieldsOf(first(pair, 2) as Buffer)];
    out[text(pair, 1)] = number === 1 ? value.toString() : number === 2 ? value === 1n : Number(value);
  }
  return out;
}

function readProtobuf(body: Buffer): SeenSpan[] {
  return all(body, 1).flatMap((resourceSpans) => {
    const resource = attributesOf(all(first(resourceSpans, 1) as Buffer, 1));
    return all(resourceSpans, 2).flatMap((scopeSpans) =>
      all(scopeSpans, 2).map((span): SeenSpan => {
        const status = (first(span, 15) as Buffer | undefined) ?? Buffer.alloc(0);
        return {
          traceId: hex(span, 1),
          spanId: hex(span, 2),
          parentId: hex(span, 4),
          name: text(span, 5),
          kind: Number(first(span, 6)),
          start: String(first(span, 7)),
          end: String(first(span, 8)),
          attributes: attributesOf(all(span, 9)),
          code: Number(first(status, 3) ?? 0),
          message: text(status, 2),
          resource,
        };
      }),
    );
  });
}

interface JsonPair {
  readonly key: string;
  readonly value: Readonly<Record<string, Value>>;
}

function jsonAttributes(pairs: readonly JsonPair[]): Record<string, Value> {
  return Object.fromEntries(
    pairs.map(({ key, value }) => {
      const [[name, inner] = ["", ""]] = Object.entries(value);
      return [key, name === "intValue" ? Number(inner) : inner];
    }),
  );
}

interface JsonBody {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly JsonPair[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly name: string;
        readonly kind: number;
        readonly startTimeUnixNano: string;
        readonly endTimeUnixNano: string;
        readonly attributes: readonly JsonPair[];
        readonly status: { readonly code: number; readonly message: string };
      }[];
    }[];
  }[];
}

function readJson(body: string): SeenSpan[] {
  const { resourceSpans } = JSON.parse(body) as JsonBody;
  return resourceSpans.flatMap((r) =>
    r.scopeSpans.flatMap((s) =>
      s.spans.map(
        (span): SeenSpan => ({
          traceId: span.traceId,
          spanId: span.spanId,
          parentId: span.parentSpanId ?? "",
          name: span.name,
          kind: span.kind,
          start: span.startTimeUnixNano,
          end: span.endTimeUnixNano,
          attributes: jsonAttributes(span.attributes),
          code: span.status.code,
          message: span.status.message,
          resource: jsonAttributes(r.resource.attributes),
        }),
      ),
    ),
  );
}

if (import.meta.main) {
  const collector = await Collector.start(Number(process.argv[2]));
  console.log(JSON.stringify({ url: collector.url }));
  for (let seen = 0; ; ) {
    seen = await collector.until(() => (collector.spans.length > seen ? collector.spans.length : undefined));
    for (const span of collector.spans.splice(0)) console.log(JSON.stringify(span));
    seen = 0;
  }
}
