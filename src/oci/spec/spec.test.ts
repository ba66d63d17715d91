import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultSpec, MASKED_PATHS } from "./default.ts";
import { packSpec, parseExactJson, toExactJson, unpackSpec } from "./json.ts";
import * as opt from "./options.ts";

const image: opt.ImageRunConfig = {
  user: "",
  env: ["PATH=/bin", "A=1"],
  entrypoint: ["/e"],
  cmd: ["c"],
  workingDir: "/w",
  stopSignal: "",
};

test("numbers above 2^53 stay exact both ways (T3)", () => {
  const text = '{"a":9007199254740993,"b":-9007199254740993,"c":1.5,"d":"\\u0001bigint:5"}';
  const value = parseExactJson(text) as { a: bigint; b: bigint };
  assert.equal(value.a, 9007199254740993n);
  assert.equal(toExactJson({ a: value.a, b: value.b }), '{"a":9007199254740993,"b":-9007199254740993}');
  const spec = defaultSpec("ns", "id");
  opt.resourcesOf(spec).memory = { limit: 9007199254740993n };
  assert.equal(opt.resourcesOf(unpackSpec(packSpec(spec))).memory?.limit, 9007199254740993n);
});

test("the first number that JSON.parse would round is exact, shorter ones and digits in strings are themselves", () => {
  const text =
    '{"a":9007199254740992,"b":9007199254740991,"c":1e20,"d":"12345678901234567890","e":12.12345678901234567}';
  assert.deepEqual(parseExactJson(text), {
    a: 9007199254740992n,
    b: 9007199254740991,
    c: 1e20,
    d: "12345678901234567890",
    e: 12.123456789012346,
  });
  assert.deepEqual(parseExactJson('{"a":[1,"x",null,{"b":-3}]}'), { a: [1, "x", null, { b: -3 }] });
});

test("no capability is inheritable or ambient, by default or added (S20)", () => {
  const spec = defaultSpec("ns", "id");
  opt.addCapabilities(spec, ["net_admin", "CAP_SYS_TIME"]);
  const caps = spec.process?.capabilities;
  assert.equal(caps?.inheritable, undefined);
  assert.equal(caps?.ambient, undefined);
  assert.ok(caps?.effective?.includes("CAP_NET_ADMIN"));
  opt.dropCapabilities(spec, ["CAP_NET_ADMIN"]);
  assert.ok(!spec.process?.capabilities?.bounding?.includes("CAP_NET_ADMIN"));
});

test("environment: image under flags, entries without = never take the caller's value (S22)", () => {
  process.env["GANTRY_TEST_SECRET"] = "s";
  const spec = defaultSpec("ns", "id");
  opt.withImageConfig(spec, { ...image, env: [...image.env, "GANTRY_TEST_SECRET"] }, []);
  assert.deepEqual(spec.process?.env, ["PATH=/bin", "A=1"]);
  assert.deepEqual(opt.mergeEnv(["A=1", "B=2"], ["A=3", "B"]), ["A=3"]);
});

test("commands: arguments replace Cmd and keep Entrypoint; nothing to run is refused", () => {
  const spec = defaultSpec("ns", "id");
  opt.withImageConfig(spec, image, ["x", "y"]);
  assert.deepEqual(spec.process?.args, ["/e", "x", "y"]);
  assert.throws(() => opt.withImageConfig(spec, { ...image, entrypoint: [], cmd: [] }, []), /no command/);
});

test("specs share nothing: a change of one is not seen in another (S21)", () => {
  const a = defaultSpec("ns", "a");
  const b = defaultSpec("ns", "b");
  a.mounts?.push({ destination: "/x" });
  a.process?.capabilities?.bounding?.push("CAP_X");
  a.linux?.maskedPaths?.pop();
  assert.equal(b.mounts?.length, 7);
  assert.ok(!b.process?.capabilities?.bounding?.includes("CAP_X"));
  assert.equal(b.linux?.maskedPaths?.length, MASKED_PATHS.length);
});

test("mount flags say what is wrong", () => {
  assert.deepEqual(opt.parseMountFlag("type=bind,src=/a,dst=/b,options=rbind:ro"), {
    type: "bind",
    source: "/a",
    destination: "/b",
    options: ["rbind", "ro"],
  });
  assert.throws(() => opt.parseMountFlag("type=bind,src=/a"), /dst must be an absolute path/);
  assert.throws(() => opt.parseMountFlag("typo=bind"), /unknown key "typo"/);
});
