/** The content contract through a content proxy plugin: another engine's content service behind a socket, alone and below ours. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { contentClient } from "../../src/client/content.ts";
import type { ContentStore } from "../../src/core/content/content.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import { limitedContent } from "../../src/plugins/content/limited.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { contentSuite } from "./content.ts";
import { overGrpc } from "./grpc-stores.ts";
import {
  inNs,
  list,
  type MakeOptions,
  type MakeStores,
  ns,
  ofClass,
  type Stores,
  tempFolder,
} from "./harness.ts";
import { type LocalStores, makeLocal, openLocal } from "./local-stores.ts";

const make: MakeStores = async (options) => {
  const stores = await overGrpc(makeLocal)(options);
  return { ...stores, content: limitedContent(stores.content, 20_000) };
};
contentSuite("content proxy", make);

/** Our metadata, with its blobs kept by another engine's content service behind a socket. */
async function keptElsewhere(
  options?: MakeOptions,
): Promise<LocalStores & { readonly far: Stores; close(): Promise<void> }> {
  const far = await overGrpc(makeLocal)();
  const folder = await tempFolder();
  const stores = await openLocal(folder.path, { ...options, remote: limitedContent(far.content, 20_000) });
  return {
    ...stores,
    far,
    close: async () => {
      await stores.close();
      await far.close();
      await folder.remove();
    },
  };
}
contentSuite("kept by a content proxy", keptElsewhere);

test("blobs are kept by the other process: copies come back, what it has need not be written, removal reaches it", async () => {
  const stores = await keptElsewhere();
  const bytes = randomBytes(300_000);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}` as Digest;
  const there = inNs("default");
  const all = async (store: ContentStore): Promise<string[]> =>
    (await list(store.walk(there, []))).map((info) => info.digest);
  try {
    await using writer = await stores.content.writer(ns, { ref: "r" });
    await writer.write(bytes);
    await writer.commit(300_000n, digest);
    assert.deepEqual(await all(stores.far.content), [digest]);
    const copy = join(stores.root, "content/blobs/sha256", digest.slice(7));
    await rm(copy);
    await using reader = await stores.content.reader(ns, digest);
    assert.deepEqual(Buffer.from(await reader.readAt(0n, 400_000)), bytes);
    await rm(copy);
    assert.equal(await stores.metadata.content.blobPath(ns, digest), copy);
    assert.deepEqual(await readFile(copy), bytes);
    await stores.content.delete(ns, digest);
    assert.deepEqual(await all(stores.far.content), []);

    // what somebody else put there
    await using other = await stores.far.content.writer(there, { ref: "theirs" });
    await other.write(bytes);
    await other.commit(300_000n, digest);
    await assert.rejects(stores.content.reader(ns, digest), ofClass("not-found"));
    await using known = await stores.content.writer(ns, { ref: "known", expected: digest, size: 300_000n });
    assert.equal(known.status().offset, 300_000n);
    await known.commit(300_000n, digest);
    await using again = await stores.content.reader(ns, digest);
    assert.deepEqual(Buffer.from(await again.readAt(0n, 400_000)), bytes);
  } finally {
    await stores.close();
  }
});

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
