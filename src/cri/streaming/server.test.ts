/** URLs and tokens of the streaming server (S59), and its end. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { afterEach, describe, test } from "node:test";
import {
  Client,
  cat,
  closeStarted,
  EXEC,
  echo,
  request,
  spdy,
  started,
  webSocket,
} from "../../../test/fakes/streaming-client.ts";
import { createDeferred } from "../../lib/deferred.ts";
import { createStreamingServer, type StreamingServer } from "./server.ts";
import { TokenStore } from "./tokens.ts";

afterEach(closeStarted);

describe("tokens and URLs", () => {
  test("22 characters, one use, 60 s, bounded", () => {
    let now = 0;
    const tokens = new TokenStore<string>(60_000, 2, () => now);
    const a = tokens.add("a");
    assert.match(a, /^[\w-]{22}$/);
    assert.equal(tokens.peek(a), "a");
    assert.equal(tokens.take(a), "a");
    assert.equal(tokens.take(a), undefined);
    const b = tokens.add("b");
    now = 59_999;
    assert.equal(tokens.peek(b), "b");
    const c = tokens.add("c");
    assert.throws(() => tokens.add("d"), /maximum number of in-flight requests exceeded/);
    now = 60_000;
    assert.equal(tokens.take(b), undefined);
    assert.equal(tokens.take(c), "c");
  });

  test("loopback; a guess, another path and a second use are not found", async () => {
    const server = await started();
    const url = server.getExec(EXEC);
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[\w-]{22}$/);
    const guess = url.slice(0, -22) + "A".repeat(22);
    assert.match(await spdy(guess).head(), /^HTTP\/1\.1 404 /);
    assert.match(await spdy(url.replace("/exec/", "/portforward/")).head(), /^HTTP\/1\.1 404 /);
    assert.match(
      await spdy(url).head(),
      /^HTTP\/1\.1 101 .*\r\nX-Stream-Protocol-Version: v4\.channel\.k8s\.io/s,
    );
    assert.match(await spdy(url).head(), /^HTTP\/1\.1 404 /);
  });

  test("a refused upgrade leaves the URL usable", async () => {
    const server = await started();
    const url = server.getExec(EXEC);
    assert.match(await request(url, "GET").head(), /^HTTP\/1\.1 400 /);
    assert.match(
      await spdy(url, "v9.channel.k8s.io").head(),
      /403 .*X-Accepted-Stream-Protocol-Versions: v4/s,
    );
    assert.match(await webSocket(url, "v9.channel.k8s.io").head(), /^HTTP\/1\.1 403 /);
    assert.match(
      await webSocket(url, "v9.channel.k8s.io, v5.channel.k8s.io").head(),
      /101 .*Protocol: v5\./s,
    );
  });

  test("requests that make no sense are refused with containerd's words", async () => {
    const server = await started();
    assert.throws(() => server.getExec({ ...EXEC, containerId: "" }), /missing required container_id/);
    assert.throws(
      () => server.getExec({ ...EXEC, tty: true, stderr: true }),
      /tty and stderr cannot both be true/,
    );
    const none = { ...EXEC, stdin: false, stdout: false };
    assert.throws(() => server.getAttach(none), /one of stdin, stdout, or stderr must be set/);
    assert.throws(() => server.getPortForward({ podId: "", ports: [] }), /missing required pod_sandbox_id/);
    assert.throws(() => server.getPortForward({ podId: "p", ports: [70_000] }), /out of range/);
  });

  test("a client that never asks is dropped, one that is served is not", async () => {
    const server = await started(echo, { limits: { headersMs: 50 } });
    const served = webSocket(server.getExec(EXEC), "v5.channel.k8s.io");
    await served.head();
    const slow = new Client(new URL(server.getExec(EXEC)));
    slow.send("GET /exec/x HTTP/1.1\r\nHo");
    await slow.end();
    const again = new Client(new URL(server.getExec(EXEC)));
    again.send("GET /exec/x HTTP/1.1\r\nHo");
    await again.end();
    assert.equal(served.closed, false);
    assert.equal(server.connections, 1);
  });

  test("2,000 sessions that clients drop leave nothing (S36)", async () => {
    const server = await started();
    const round = async (n: number): Promise<void> => {
      for (let i = 0; i < n; i++) {
        const client = webSocket(server.getAttach(EXEC), "v4.channel.k8s.io");
        await client.head();
        client.socket.destroy();
      }
    };
    const fds = (): number => readdirSync("/proc/self/fd").length;
    await round(200);
    const before = fds();
    await round(1800);
    await untilNone(server);
    assert.ok(fds() <= before + 20, `${fds()} descriptors, ${before} before`);
  });

  test("more connections than allowed get 503", async () => {
    const server = await started(echo, { limits: { connections: 1 } });
    const first = spdy(server.getExec(EXEC));
    await first.head();
    assert.match(await spdy(server.getExec(EXEC)).head(), /^HTTP\/1\.1 503 /);
  });
});

test("close drops connections and waits for their sessions", async () => {
  let ended = false;
  const running = createDeferred<void>();
  const server = createStreamingServer({
    ...echo,
    async attach(_request, streams) {
      running.resolve();
      await cat(streams);
      await Promise.resolve();
      ended = true;
    },
  });
  await server.listen();
  const client = webSocket(server.getAttach(EXEC), "v4.channel.k8s.io");
  await running.promise;
  await server.close();
  assert.ok(ended);
  await client.end();
  assert.throws(() => server.getExec(EXEC), /not listening/);
});

/** Waits until the server noticed that all clients left. */
async function untilNone(server: StreamingServer): Promise<void> {
  while (server.connections > 0) await new Promise((resolve) => setImmediate(resolve));
}
