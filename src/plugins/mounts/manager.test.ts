import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { mountsClient } from "../../client/mounts.ts";
import { Call } from "../../core/call.ts";
import { codeOf, type ErrorCode, notFound } from "../../core/errors.ts";
import { parseNamespace } from "../../core/ids/namespace.ts";
import { noLog } from "../../core/log.ts";
import { formatMount, type MountManager, parseTransformers } from "../../core/mounts/activation.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import { mountsBelow } from "../../platform/mounts/mountinfo.ts";
import { unmountAll } from "../../platform/mounts/mounts.ts";
import { setMainScript } from "../../platform/runtime.ts";
import { createGrpcServer } from "../../rpc/grpc/server.ts";
import { createGrpcTransport } from "../../rpc/grpc/transport.ts";
import { mountsService } from "../../services/mounts.ts";
import { FileMountManager } from "./manager.ts";
import type { TieStores } from "./ties.ts";

setMainScript(new URL("../../main.ts", import.meta.url).pathname);
const root = process.getuid?.() === 0 ? {} : { skip: "needs root" };
const call = new Call({}).in(parseNamespace("testing"));
const other = new Call({}).in(parseNamespace("other"));
const refused = (code: ErrorCode) => (err: unknown) => codeOf(err) === code;
const mount = (type: string, options: string[] = [], source = type): Mount => ({
  type,
  source,
  target: "",
  options,
});

let dir = "";
let state = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "gantry-mounts-"));
  state = join(dir, "state");
});
afterEach(async () => {
  for (const point of mountsBelow(dir)) await unmountAll(point);
  rmSync(dir, { recursive: true, force: true });
});

async function manager(): Promise<FileMountManager> {
  const made = new FileMountManager(state, noLog);
  await made.load(new Call({}));
  return made;
}

/** A lower folder to bind, and an overlay over it whose folders are made. */
function layered(): Mount[] {
  mkdirSync(join(dir, "lower"), { recursive: true });
  writeFileSync(join(dir, "lower/file"), "x");
  const made = [`X-containerd.mkdir.path=${dir}/up/u:755:7:8`, `X-containerd.mkdir.path=${dir}/up/w`];
  return [
    mount("bind", ["ro", "rbind"], join(dir, "lower")),
    mount("format/mkdir/overlay", [
      ...made,
      "lowerdir={{ mount 0 }}",
      `upperdir=${dir}/up/u`,
      `workdir=${dir}/up/w`,
    ]),
  ];
}
const request = (name: string, mounts: Mount[], temporary = false) => ({
  name,
  mounts,
  labels: new Map([["k", name]]),
  temporary,
});

async function lifecycle(mounts: MountManager): Promise<void> {
  const made = await mounts.activate(call, request("a", layered()));
  const [active] = made.active;
  assert.ok(active !== undefined && existsSync(join(active.mountPoint, "file")));
  assert.deepEqual(made.system, [
    mount(
      "overlay",
      [`lowerdir=${active.mountPoint}`, `upperdir=${dir}/up/u`, `workdir=${dir}/up/w`],
      "format/mkdir/overlay",
    ),
  ]);
  assert.equal(statSync(join(dir, "up/u")).uid, 7);
  assert.deepEqual(await mounts.info(call, "a"), made);
  await assert.rejects(mounts.activate(call, request("a", layered())), refused("already-exists"));
  await assert.rejects(mounts.info(other, "a"), refused("not-found"));
  await mounts.activate(call, request("b/with any:name", layered()));
  assert.deepEqual(
    (await mounts.list(call, [])).map((a) => a.name),
    ["a", "b/with any:name"],
  );
  assert.deepEqual(
    (await mounts.list(call, ["labels.k==a"])).map((a) => a.name),
    ["a"],
  );
  assert.deepEqual(await mounts.list(other, []), []);
  const changed = await mounts.update(call, "a", new Map([["new", "1"]]), ["labels.new", "labels.k"]);
  assert.deepEqual([...changed.labels], [["new", "1"]]);
  assert.deepEqual(await mounts.info(call, "a"), changed);
  await assert.rejects(mounts.update(call, "a", new Map(), ["active"]), refused("invalid-argument"));
  await assert.rejects(mounts.update(call, "none", new Map(), []), refused("not-found"));
  for (const name of ["a", "b/with any:name"]) await mounts.deactivate(call, name);
  await assert.rejects(mounts.deactivate(call, "a"), refused("not-found"));
  assert.deepEqual(mountsBelow(state), []);
  assert.deepEqual(readdirSync(join(state, "t")), []);
  assert.deepEqual(readdirSync(join(state, "records")), []);
}

test("the life of an activation", root, async () => lifecycle(await manager()));

test("the same over gRPC", root, async () => {
  const path = join(dir, "s.sock");
  const server = createGrpcServer({ services: [mountsService(await manager())] });
  await server.listen({ path });
  const transport = createGrpcTransport({ path });
  try {
    await lifecycle(mountsClient(transport));
  } finally {
    await transport.close();
    await server.close();
  }
});

test("a new daemon knows what is mounted, and takes down the temporary and the half made", root, async () => {
  const first = await manager();
  await first.activate(call, request("stays", layered()));
  await first.activate(call, request("goes", layered(), true));
  const second = await manager();
  assert.deepEqual(
    (await second.list(call, [])).map((a) => a.name),
    ["stays"],
  );
  assert.equal(mountsBelow(state).length, 1);
  await second.deactivate(call, "stays");
  assert.deepEqual(mountsBelow(state), []);
});

test("a mount that fails takes the others along", root, async () => {
  const mounts = await manager();
  const bad = [mount("bind", ["rbind"], dir), mount("bind", [], join(dir, "none")), mount("format/overlay")];
  await assert.rejects(mounts.activate(call, request("x", bad)), /activate mounts "x"/);
  assert.deepEqual(mountsBelow(state), []);
  assert.deepEqual(readdirSync(join(state, "records")), []);
  await assert.rejects(mounts.info(call, "x"), refused("not-found"));
});

test("what needs nothing of the manager is left to the caller", async () => {
  const mounts = await manager();
  for (const list of [[mount("overlay")], []])
    await assert.rejects(mounts.activate(call, request("x", list)), refused("not-implemented"));
  await assert.rejects(mounts.activate(call, request("", [mount("format/x")])), refused("invalid-argument"));
});

test("what lost its last tie is taken down: lease, owner, time; without any tie it stays", root, async () => {
  const leases = new Set(["l"]);
  const images = new Set(["owner"]);
  const stores = {
    leases: { list: async () => [...leases].map((id) => ({ id })) },
    images: {
      get: async (_call: unknown, name: string) => {
        if (!images.has(name)) throw notFound(name);
      },
    },
  } as unknown as TieStores;
  const mounts = await manager();
  const make = (name: string, labels: Record<string, string>, lease?: string) =>
    mounts.activate(lease === undefined ? call : call.with({ lease }).in(call.namespace), {
      ...request(name, layered()),
      labels: new Map(Object.entries(labels)),
    });
  const year = (n: number): string => `${n}-01-01T00:00:00Z`;
  await make("free", {});
  await make("leased", {}, "l");
  await make("owned", { "containerd.io/gc.bref.image": "owner" });
  await make("both", { "containerd.io/gc.bref.image": "owner" }, "l");
  await make("rooted", { "containerd.io/gc.root": "1" }, "none");
  await make("later", { "containerd.io/gc.expire": year(2999) });
  await make("past", { "containerd.io/gc.expire": year(2001) });
  const left = async (): Promise<string[]> => (await mounts.list(call, [])).map((a) => a.name);
  assert.equal(await mounts.collect(new Call({}), stores), 1);
  assert.deepEqual(await left(), ["both", "free", "later", "leased", "owned", "rooted"]);
  images.clear();
  assert.equal(await mounts.collect(new Call({}), stores), 1);
  leases.clear();
  const second = await manager();
  assert.equal(await second.collect(new Call({}), stores), 2);
  assert.deepEqual(
    (await second.list(call, [])).map((a) => a.name),
    ["free", "later", "rooted"],
  );
  assert.equal(mountsBelow(state).length, 3);
  for (const name of ["free", "later", "rooted"]) await second.deactivate(call, name);
});

test("templates", () => {
  const active = ["/0", "/1", "/2"].map((mountPoint, i) => ({
    mount: { type: "", source: `s${i}`, target: `t${i}`, options: [] },
    mountedAt: 0n,
    mountPoint,
    data: new Map(),
  }));
  const filled = (text: string): string => formatMount(mount("x", [], text), active).source;
  assert.equal(filled("a={{ mount 1 }},{{source 2}},{{ target 0 }}"), "a=/1,s2,t0");
  assert.equal(filled("{{ overlay 2 0 }}|{{ overlay 0 1 }}"), "/2:/1:/0|/0:/1");
  for (const bad of ["{{ mount 3 }}", "{{ mount }}", "{{ env HOME }}", "{{ overlay 0 9 }}"])
    assert.throws(() => filled(bad), /format mount/);
  assert.deepEqual(parseTransformers(mount("format/mkdir/overlay", ["ro", "X-containerd.mkdir.path=/a:b"])), {
    transformers: ["format", "mkdir"],
    mount: mount("overlay", ["ro"], "format/mkdir/overlay"),
    own: [["mkdir.path", "/a:b"]],
  });
});
