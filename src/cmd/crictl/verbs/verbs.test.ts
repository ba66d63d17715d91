import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  ContainerConfigSchema,
  CpuUsageSchema,
  type Image,
  ImageSchema,
  PodSandboxConfigSchema,
} from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { Sums } from "../pull-progress.ts";
import { filterImages, nameAndDigest, namesAndTags, sortImages } from "./image-list.ts";
import { jsonSchema } from "./jsonschema.ts";
import { parsePorts } from "./port-forward.ts";
import { authOf, pullTimeout } from "./pull.ts";
import { cpuPercent } from "./stats.ts";

const image = (id: string, repoTags: string[], repoDigests: string[] = []): Image =>
  create(ImageSchema, { id: `sha256:${id}`, repoTags, repoDigests });
const A = image("aaa", ["x/a:1", "x/a:2"], ["x/a@sha256:11"]);
const B = image("bbb", ["x/b:1"], ["x/b@sha256:22"]);
const C = image("ccc", [], ["x/c@sha256:33"]);

test("images: order, names, filters", () => {
  const list = sortImages([C, B, A]);
  assert.deepEqual(list, [A, B, C]);
  assert.deepEqual(namesAndTags(A, "x/a"), [
    ["x/a", "1"],
    ["x/a", "2"],
  ]);
  assert.deepEqual(namesAndTags(C, nameAndDigest(C).name), [["x/c", "<none>"]]);
  assert.deepEqual(nameAndDigest(image("d", [])), { name: "<none>", digest: "<none>" });
  const ids = (...filters: string[]): string =>
    filterImages(list, filters)
      .map((i) => i.id.slice(-1))
      .join("");
  assert.equal(ids("dangling=true"), "c");
  assert.equal(ids("dangling=false"), "ab");
  assert.equal(ids("reference=^x/[ab]$"), "ab");
  assert.equal(ids("reference=(?i)X/A"), "a");
  assert.equal(ids("since=x/b:1"), "a");
  assert.equal(ids("before=x/a:2"), "bc");
  assert.equal(ids("before=aaa", "dangling=false"), "b");
  assert.equal(ids("since=x/c@sha256:33"), "ab");
  assert.throws(() => ids("odd=1"), /unknown filter flag: odd=1/);
  assert.throws(() => ids("reference=("), /invalid regular expression/);
});

test("ports", () => {
  assert.deepEqual(parsePorts("8080:80"), { local: 8080, remote: 80 });
  assert.deepEqual(parsePorts("80"), { local: 80, remote: 80 });
  assert.deepEqual(parsePorts(":80"), { local: 0, remote: 80 });
  for (const wrong of ["", "0", "a:b", "80:", "70000", "1:2:3", "-1"])
    assert.throws(() => parsePorts(wrong), /not \[LOCAL_PORT:\]REMOTE_PORT/, wrong);
});

test("credentials and limits of a pull", async () => {
  assert.equal(await authOf({}), undefined);
  assert.deepEqual(await authOf({ creds: "u:p:q" }), { username: "u", password: "p:q" });
  assert.deepEqual(await authOf({ creds: "u" }), { username: "u", password: "" });
  assert.deepEqual(await authOf({ auth: "dTpw" }), { auth: "dTpw" });
  await assert.rejects(authOf({ creds: "u:p", auth: "x" }), /both --creds and --auth/);
  await assert.rejects(authOf({ creds: ":p" }), /username can't be empty/);
  assert.deepEqual(
    [pullTimeout({}), pullTimeout({ pt: "1m" }), pullTimeout({ pullTimeout: "0" })],
    [undefined, 60_000, undefined],
  );
  assert.throws(() => pullTimeout({ pullTimeout: "-1s" }), /negative/);
});

test("CPU use between two measurements", () => {
  const at = (timestamp: bigint, value: bigint) =>
    create(CpuUsageSchema, { timestamp, usageCoreNanoSeconds: { value } });
  assert.equal(cpuPercent(at(0n, 1_000_000n), at(1_000_000_000n, 251_000_000n)), 25);
  assert.equal(cpuPercent(at(5n, 1n), at(5n, 2n)), undefined);
  assert.equal(cpuPercent(undefined, undefined), 0);
});

test("the schema of a file refers only to what it defines", () => {
  for (const schema of [PodSandboxConfigSchema, ContainerConfigSchema]) {
    const made = jsonSchema(schema) as { $ref: string; $defs: Record<string, unknown> };
    const names = [...JSON.stringify(made).matchAll(/"#\/\$defs\/(\w+)"/g)].map((match) => match[1] ?? "");
    assert.ok(names.length > 5);
    for (const name of names) assert.ok(Object.hasOwn(made.$defs, name), name);
  }
  const { $defs } = jsonSchema(ContainerConfigSchema) as {
    $defs: Record<string, { properties: Record<string, unknown> }>;
  };
  assert.deepEqual($defs["KeyValue"]?.properties, { key: { type: "string" }, value: { type: "string" } });
});

test("what a pull shows", () => {
  const sums = new Sums();
  assert.equal(sums.text(), "waiting for the registry");
  sums.take([
    { ref: "a", offset: 0n, total: 1024n },
    { ref: "b", offset: 512n, total: 1024n },
  ]);
  assert.equal(sums.text(), "downloading 2 of 2, 512.0 B of 2.0 KiB,");
  sums.take([{ ref: "a", offset: 100n, total: 1024n }]);
  assert.equal(sums.text(), "downloading 1 of 2, 1.1 KiB of 2.0 KiB,");
  sums.take([]);
  assert.equal(sums.text(), "unpacking, 2.0 KiB of 2.0 KiB,");
});
