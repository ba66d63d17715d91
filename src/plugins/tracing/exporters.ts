/** The ways to a collector: OTLP over HTTP (protobuf or JSON) and over gRPC. */
import type { IncomingMessage, RequestOptions } from "node:http";
import { gzipSync } from "node:zlib";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  ExportTraceServiceRequestSchema,
  ExportTraceServiceResponseSchema,
  TraceService,
} from "../../api/gen/opentelemetry/v1/trace_pb.ts";
import { codeOf, type ErrorCode, messageOf } from "../../core/errors.ts";
import { createClient } from "../../rpc/client.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { type Exporter, RetryError } from "./batch.ts";
import { type Scope, toJson, toRequest } from "./encode.ts";
import type { ExportSettings } from "./settings.ts";

/** HTTP answers after which the same request may succeed. */
const RETRY_STATUS: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);
/** Bytes of an answer that are looked at. */
const MAX_ANSWER = 64 << 10;

/** Makes the exporter of the settings' protocol. */
export async function createExporter(settings: ExportSettings, scope: Scope): Promise<Exporter> {
  return settings.protocol === "grpc" ? grpcExporter(settings, scope) : await httpExporter(settings, scope);
}

async function httpExporter(settings: ExportSettings, scope: Scope): Promise<Exporter> {
  const { endpoint, tls } = settings;
  const secure = endpoint.protocol === "https:";
  const http = secure ? await import("node:https") : await import("node:http");
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const json = settings.protocol === "http/json";
  const options: RequestOptions = {
    method: "POST",
    agent,
    headers: {
      ...Object.fromEntries(settings.headers),
      "content-type": json ? "application/json" : "application/x-protobuf",
      ...(settings.gzip ? { "content-encoding": "gzip" } : {}),
      "user-agent": `gantry/${scope.version}`,
    },
    ...(secure ? tls : {}),
  };
  return {
    async send(spans, resource, signal) {
      const plain = json
        ? Buffer.from(toJson(spans, resource, scope))
        : toBinary(ExportTraceServiceRequestSchema, toRequest(spans, resource, scope));
      const body = settings.gzip ? gzipSync(plain) : plain;
      const answer = await new Promise<{ status: number; after: string; body: Buffer }>((resolve, reject) => {
        const request = http.request(endpoint, { ...options, signal }, (response) => {
          collect(response).then(
            (bytes) =>
              resolve({
                status: response.statusCode ?? 0,
                after: response.headers["retry-after"] ?? "",
                body: bytes,
              }),
            reject,
          );
        });
        request.on("error", reject);
        request.end(body);
      }).catch((err: unknown) => {
        throw new RetryError(`post to "${endpoint.origin}": ${messageOf(err)}`);
      });
      if (answer.status >= 200 && answer.status < 300) return refused(answer.body, json);
      const text = `post to "${endpoint.href}": status ${answer.status}`;
      if (RETRY_STATUS.has(answer.status)) throw new RetryError(text, 1000 * (Number(answer.after) || 0));
      throw new Error(text);
    },
    close: async () => agent.destroy(),
  };
}

async function collect(response: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    if (size < MAX_ANSWER) parts.push(part);
    size += part.length;
  }
  return Buffer.concat(parts).subarray(0, MAX_ANSWER);
}

/** Spans the collector took no part of; an answer nobody understands says nothing. */
function refused(body: Buffer, json: boolean): number {
  try {
    if (!json)
      return Number(fromBinary(ExportTraceServiceResponseSchema, body).partialSuccess?.rejectedSpans ?? 0);
    const answer = JSON.parse(body.toString() || "{}") as { partialSuccess?: { rejectedSpans?: unknown } };
    return Number(answer.partialSuccess?.rejectedSpans ?? 0) || 0;
  } catch {
    return 0;
  }
}

const RETRY_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "canceled",
  "deadline-exceeded",
  "resource-exhausted",
  "aborted",
  "out-of-range",
  "unavailable",
  "data-loss",
]);

function grpcExporter(settings: ExportSettings, scope: Scope): Exporter {
  const { endpoint } = settings;
  const secure = endpoint.protocol === "https:";
  const transport = createGrpcTransport({
    host: endpoint.hostname.replace(/^\[|\]$/g, ""),
    port: Number(endpoint.port) || (secure ? 443 : 80),
    ...(secure ? { tls: settings.tls } : {}),
  });
  const client = createClient(TraceService, transport);
  const headers = new Map([...settings.headers].map(([k, v]) => [k.toLowerCase(), [v]]));
  return {
    async send(spans, resource, signal) {
      try {
        const request = toRequest(spans, resource, scope);
        const answer = await client.export(request, { headers, signal, timeoutMs: settings.timeoutMs });
        return Number(answer.partialSuccess?.rejectedSpans ?? 0);
      } catch (err) {
        const text = `export to "${endpoint.host}": ${messageOf(err)}`;
        const code = codeOf(err);
        throw code !== undefined && RETRY_CODES.has(code) ? new RetryError(text) : new Error(text);
      }
    },
    close: () => transport.close(),
  };
}
