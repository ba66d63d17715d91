/** The content contract through a content proxy plugin: another engine's content service behind a socket. */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { contentClient } from "../../src/client/content.ts";
import { limitedContent } from "../../src/plugins/content/limited.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { contentSuite } from "./content.ts";
import { overGrpc } from "./grpc-stores.ts";
import { list, type MakeStores, ns, ofClass, tempFolder } from "./harness.ts";
import { makeLocal } from "./local-stores.ts";

const make: MakeStores = async (options) => {
  const stores = await overGrpc(makeLocal)(options);
  return { ...stores, content: limitedContent(stores.content, 20_000) };
};
contentSuite("content proxy", make);

test("a store that never answers fails every call in time", async () => {
  const folder = await tempFolder();
  const path = join(folder.path, "hung.sock");
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const transport = createGrpcTransport({ path });
  const store = limitedContent(contentClient(transport), 50);
  const late = ofClass("deadline-exceeded");
  const digest = `sha256:${"0".repeat(64)}` as never;
  try {
    await assert.rejects(store.info(ns, digest), late);
    await assert.rejects(store.reader(ns, digest), late);
    await assert.rejects(store.writer(ns, { ref: "r" }), late);
    await assert.rejects(list(store.walk(ns, [])), late);
  } finally {
    await transport.close();
    for (const socket of sockets) socket.destroy();
    server.close();
    await folder.remove();
  }
});
