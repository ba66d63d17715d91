/** The example snapshotter behind a socket, driven by our metadata through the proxy plugin. Mounts for real as root. */
import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { CopyingSnapshotter } from "../../docs/examples/snapshotter/copying.ts";
import { snapshotterClient } from "../../src/client/snapshots.ts";
import { noLog } from "../../src/core/log.ts";
import type { SnapshotBackend } from "../../src/core/snapshots/snapshotter.ts";
import { ProxyBackend, type ProxyLimits } from "../../src/plugins/snapshots/proxy.ts";
import { RemoteNamesFile } from "../../src/plugins/snapshots/remote-names.ts";
import { createGrpcServer } from "../../src/rpc/grpc/server.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import { snapshotsService } from "../../src/services/snapshots.ts";
import { inNs, labelsOf, list, type MakeStores, ns, ofClass, type Stores, tempFolder } from "./harness.ts";
import { folderBackend, openLocal } from "./local-stores.ts";
import { snapshotterSuite } from "./snapshotter.ts";

const LIMITS: ProxyLimits = { change: 20_000, read: 20_000 };
const isRoot = process.getuid?.() === 0;
const REF = "containerd.io/snapshot.ref";

interface Proxied extends Stores {
  readonly root: string;
  readonly remote: CopyingSnapshotter;
}

async function backendOn(
  socket: string,
  root: string,
  limits: ProxyLimits,
): Promise<{ backend: SnapshotBackend; close: () => Promise<void> }> {
  await mkdir(join(root, "names"), { recursive: true });
  const transport = createGrpcTransport({ path: socket });
  const plugin = {
    name: "copying",
    address: socket,
    platform: { os: "linux", architecture: "amd64" },
    exports: {},
    capabilities: [],
  };
  const names = await RemoteNamesFile.open(join(root, "names"), noLog);
  const remote = snapshotterClient(transport, "copying");
  return {
    backend: new ProxyBackend(plugin, remote, names, limits, noLog),
    close: () => transport.close(),
  };
}

async function makeProxied(ready = false): Promise<Proxied> {
  const folder = await tempFolder();
  const socket = join(folder.path, "sn.sock");
  const remote = new CopyingSnapshotter(
    join(folder.path, "copying"),
    ready ? join(folder.path, "ready") : undefined,
  );
  const server = createGrpcServer({ services: [snapshotsService(() => remote)] });
  await server.listen({ path: socket });
  const { backend, close } = await backendOn(socket, folder.path, LIMITS);
  const stores = await openLocal(folder.path, { backends: new Map([["copying", backend]]) });
  return {
    ...stores,
    remote,
    root: folder.path,
    close: async () => {
      await stores.close();
      await close();
      await server.close();
      await folder.remove();
    },
  };
}

const make: MakeStores = () => makeProxied();
snapshotterSuite({ name: "copying", mounts: isRoot, renamesDirectories: true, depth: 8 }, make);

describe("proxy snapshotter", () => {
  test("the process sees namespaced keys and only labels for it; nothing is left in it", async () => {
    const stores = await makeProxied();
    const sn = stores.snapshotter("copying");
    await sn.prepare(ns, "k", "", labelsOf({ own: "1", "containerd.io/snapshot/x": "2" }));
    const [seen] = await list(stores.remote.walk(undefined, []));
    assert.match(seen?.name ?? "", /^testing\/\d+\/k$/);
    assert.deepEqual([...(seen?.labels ?? [])], [["containerd.io/snapshot/x", "2"]]);
    await sn.commit(ns, "base", "k", labelsOf({}));
    await sn.prepare(inNs("other"), "base", "", labelsOf({}));
    await sn.prepare(ns, "child", "base", labelsOf({}));
    await sn.remove(ns, "child");
    await sn.remove(ns, "base");
    await sn.remove(inNs("other"), "base");
    await sn.cleanup(ns);
    assert.deepEqual(await list(stores.remote.walk(undefined, [])), []);
    assert.deepEqual(await readdir(join(stores.root, "names")), []);
    await stores.close();
  });

  test("changed labels reach the process, those that concern it", async () => {
    const stores = await makeProxied();
    const sn = stores.snapshotter("copying");
    await sn.prepare(ns, "k", "", labelsOf({ "containerd.io/snapshot/a": "1" }));
    await sn.update(ns, "k", labelsOf({ own: "1", "containerd.io/snapshot/b": "2" }), []);
    const seen = async (): Promise<unknown> =>
      (await list(stores.remote.walk(undefined, []))).map((s) => [...s.labels]);
    assert.deepEqual(await seen(), [[["containerd.io/snapshot/b", "2"]]]);
    await sn.commit(ns, "base", "k", labelsOf({ "containerd.io/snapshot/c": "3" }));
    await sn.update(ns, "base", labelsOf({ "containerd.io/snapshot/c": "" }), [
      "labels.containerd.io/snapshot/c",
    ]);
    assert.deepEqual(await seen(), [[]]);
    await stores.close();
  });

  test("a layer the process has already is taken over, once for each namespace that asks", async () => {
    const stores = await makeProxied(true);
    const sn = stores.snapshotter("copying");
    await mkdir(join(stores.root, "ready", "abc"), { recursive: true });
    await writeFile(join(stores.root, "ready", "abc", "hello"), "ready made");
    const asked = labelsOf({ [REF]: "sha256:abc" });
    for (const call of [ns, inNs("other")]) {
      await assert.rejects(sn.prepare(call, "extract", "", asked), ofClass("already-exists", /sha256:abc/));
      const info = await sn.stat(call, "sha256:abc");
      assert.deepEqual([info.kind, info.parent], ["committed", ""]);
      await assert.rejects(sn.stat(call, "extract"), ofClass("not-found"));
      assert.ok((await sn.usage(call, "sha256:abc")).size > 0n);
    }
    const [mount] = await sn.prepare(ns, "run", "sha256:abc", labelsOf({}));
    assert.deepEqual(await readdir(mount?.source ?? ""), ["hello"]);
    await sn.remove(ns, "run");
    await sn.remove(ns, "sha256:abc");
    await sn.cleanup(ns);
    assert.equal((await sn.stat(inNs("other"), "sha256:abc")).kind, "committed");
    const [view] = await sn.view(inNs("other"), "v", "sha256:abc", labelsOf({}));
    assert.deepEqual(await readdir(view?.source ?? ""), ["hello"]);
    // a target it does not have is prepared as usual
    await sn.prepare(ns, "extract", "", labelsOf({ [REF]: "sha256:none" }));
    await stores.close();
  });

  test("a process that never answers: its own calls end, others do not wait, the store closes", async () => {
    const folder = await tempFolder();
    const socket = join(folder.path, "hung.sock");
    const hung: Server = await new Promise((resolve) => {
      const server = createServer(() => {});
      server.listen(socket, () => resolve(server));
    });
    const { backend, close } = await backendOn(socket, folder.path, { change: 300, read: 300 });
    const native = folderBackend("native", join(folder.path, "native"));
    const backends = new Map([
      ["copying", backend],
      ["native", native],
    ]);
    const stores = await openLocal(folder.path, { backends });
    const stuck = stores.snapshotter("copying").prepare(ns, "k", "", labelsOf({}));
    const sn = stores.snapshotter("native");
    await sn.prepare(ns, "k", "", labelsOf({}));
    await sn.remove(ns, "k");
    await sn.cleanup(ns);
    await assert.rejects(stuck, ofClass("deadline-exceeded"));
    await stores.collect();
    await stores.close();
    await close();
    hung.close();
    await folder.remove();
  });

  test("a process that is not there: unavailable, and found when it comes", async () => {
    const folder = await tempFolder();
    const socket = join(folder.path, "late.sock");
    const { backend, close } = await backendOn(socket, folder.path, LIMITS);
    const stores = await openLocal(folder.path, { backends: new Map([["copying", backend]]) });
    const sn = stores.snapshotter("copying");
    await assert.rejects(sn.prepare(ns, "k", "", labelsOf({})), ofClass("unavailable"));
    const remote = new CopyingSnapshotter(join(folder.path, "copying"));
    const server = createGrpcServer({ services: [snapshotsService(() => remote)] });
    await server.listen({ path: socket });
    await sn.prepare(ns, "k", "", labelsOf({}));
    assert.equal((await list(remote.walk(undefined, []))).length, 1);
    await stores.close();
    await close();
    await server.close();
    await folder.remove();
  });
});
