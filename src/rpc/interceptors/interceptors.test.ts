import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { bindPeer, Peer, type PeerClient } from "../../../test/peers/rpc-go/peer-service.ts";
import { Call } from "../../core/call.ts";
import { GantryError } from "../../core/errors.ts";
import type { LogFields, Logger } from "../../core/log.ts";
import { createClient } from "../client.ts";
import { createMemoryTransport } from "../memory.ts";
import { bindService, type Interceptor } from "../types.ts";
import { errorInterceptor } from "./errors.ts";
import { logInterceptor } from "./log.ts";
import { createRpcMetrics } from "./metrics.ts";

interface Line {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

function recorder(lines: Line[]): Logger {
  const at =
    (level: string) =>
    (message: string, fields: LogFields = {}): void => {
      lines.push({ level, message, fields });
    };
  const log: Logger = {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    child: () => log,
  };
  return log;
}

function client(interceptors: readonly Interceptor[], lines: Line[] = []): PeerClient {
  const transport = createMemoryTransport({
    services: [bindPeer({ aborted: [], produced: 0, taken: 0 })],
    interceptors,
    call: new Call({ log: recorder(lines) }),
  });
  return createClient(Peer, transport) as unknown as PeerClient;
}

describe("interceptors", () => {
  test("run in order around the handler", async () => {
    const seen: string[] = [];
    const named =
      (name: string): Interceptor =>
      async (method, _context, next) => {
        seen.push(`${name} ${method.name}`);
        await next();
        seen.push(`${name} done`);
      };
    await client([named("a"), named("b")]).echo({ value: Uint8Array.of(1) });
    assert.deepEqual(seen, ["a Echo", "b Echo", "b done", "a done"]);
  });

  test("metrics count calls by method and code, streams to their end", async () => {
    const metrics = createRpcMetrics();
    const peer = client([metrics.interceptor]);
    await peer.echo({ value: Uint8Array.of(1) });
    await peer.echo({ value: Uint8Array.of(1) });
    await assert.rejects(peer.fail({ value: "x" }), GantryError);
    let chunks = 0;
    for await (const _ of peer.read({ value: 3n })) chunks++;
    const { started, messages, handled, handling } = metrics.snapshot();
    assert.deepEqual(
      messages.map(({ method, received, sent }) => [method, received, sent]),
      [
        ["Echo", 2, 2],
        ["Fail", 1, 0],
        ["Read", 1, chunks],
      ],
    );
    const service = "gantry.test.v1.Peer";
    assert.deepEqual(handled, [
      { service, method: "Echo", type: "unary", code: "OK", count: 2 },
      { service, method: "Fail", type: "unary", code: "NotFound", count: 1 },
      { service, method: "Read", type: "server_stream", code: "OK", count: 1 },
    ]);
    assert.deepEqual(
      started.map(({ method, count }) => [method, count]),
      [
        ["Echo", 2],
        ["Fail", 1],
        ["Read", 1],
      ],
    );
    assert.equal(handling[0]?.count, 2);
    assert.ok((handling[0]?.buckets.at(-1) ?? 0) <= 2);
  });

  test("log: done and expected failures at debug, broken handlers as warnings", async () => {
    const lines: Line[] = [];
    const peer = client([logInterceptor], lines);
    const headers = new Map([["containerd-namespace", ["moby"]]]);
    await peer.echo({ value: Uint8Array.of(1) }, { headers });
    await assert.rejects(peer.fail({ value: "x" }));
    await assert.rejects(peer.fail({ value: "plain" }));
    assert.deepEqual(
      lines.map(({ level, fields }) => [level, fields["code"], fields["namespace"]]),
      [
        ["debug", "OK", "moby"],
        ["debug", "NotFound", undefined],
        ["warn", "Unknown", undefined],
      ],
    );
  });

  test("errors: our classes pass, others are logged; broken invariants are internal", async () => {
    const lines: Line[] = [];
    const broken = createMemoryTransport({
      services: [
        bindService(Peer, {
          echo: () => {
            throw new TypeError("x is undefined");
          },
          fail: () => {
            throw new DOMException("stop", "AbortError");
          },
        }),
      ],
      interceptors: [errorInterceptor],
      call: new Call({ log: recorder(lines) }),
    });
    const peer = createClient(Peer, broken) as unknown as PeerClient;
    const is = (code: string) => (err: unknown) => err instanceof GantryError && err.code === code;
    await assert.rejects(peer.echo({ value: Uint8Array.of(1) }), is("internal"));
    await assert.rejects(peer.fail({ value: "" }), is("canceled"));
    assert.deepEqual(
      lines.map(({ level }) => level),
      ["error"],
    );
    await assert.rejects(client([errorInterceptor]).fail({ value: "x" }), is("not-found"));
  });
});
