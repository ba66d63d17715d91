/** Hostile requests and images against the builders of CRI specs (reliability S18-S32, S43, S44, S49, S52, T4). Some need root. */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { isInvalidArgument } from "../../src/core/errors.ts";
import { buildContainerSpec } from "../../src/cri/spec/container.ts";
import { buildSandboxSpec } from "../../src/cri/spec/sandbox.ts";
import { isDeno, setMainScript } from "../../src/platform/runtime.ts";
import { mkfifo } from "../../src/platform/syscalls/tree.ts";
import { containerInput, type SpecCase, sandboxInput } from "../fakes/cri-spec.ts";

setMainScript(new URL("../../src/main.ts", import.meta.url).pathname);
const dir = mkdtempSync(join(tmpdir(), "gantry-cri-spec-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const root = { skip: process.geteuid?.() === 0 ? false : "needs root" };
let next = 0;

/** A root file system as an image brings it, and what builds a spec from it. */
function image(fill: (path: string) => void): (c: SpecCase) => ReturnType<typeof buildContainerSpec> {
  const path = join(dir, `image-${next++}`);
  mkdirSync(path);
  fill(path);
  return (c) =>
    buildContainerSpec(
      containerInput(c, {
        rootfs: [{ type: "bind", source: path, target: "", options: ["rbind", "rw"] }],
        rootDir: `${path}.state`,
      }),
    );
}
const etc = (passwd: string, group = ""): ((path: string) => void) => {
  return (path) => {
    mkdirSync(join(path, "etc"));
    writeFileSync(join(path, "etc/passwd"), passwd);
    writeFileSync(join(path, "etc/group"), group);
  };
};
const refusal = (err: unknown): boolean => isInvalidArgument(err);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("USER is never root unless it says so (S18)", root, async () => {
  const build = image(
    etc(
      "root:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:\n4294967296:x:0:0::/:\n-1:x:0:0::/:\n0x0:x:0:0::/:\n٠:x:0:0::/:\n",
    ),
  );
  const wraps = [
    "2147483648",
    "4294967296",
    "9".repeat(36),
    "-1",
    "+0",
    `0:${"9".repeat(20)}`,
    " ",
    "0 ",
    ":",
    "1:",
  ];
  for (const user of wraps) await assert.rejects(build({ image: { user } }), refusal, JSON.stringify(user));
  for (const value of [-1n, 2n ** 31n, 2n ** 32n, 2n ** 63n - 1n])
    await assert.rejects(
      build({ container: { linux: { securityContext: { runAsUser: { value } } } } }),
      refusal,
      String(value),
    );
  // as names these are looked up, whole; the entries' numbers count
  assert.equal((await build({ image: { user: "0x0" } })).process?.user.uid, 0);
  const spec = await build({ image: { user: "00001000:007" } });
  assert.deepEqual(spec.process?.user, { uid: 1000, gid: 7, additionalGids: [7] });
});

test("groups of the user: primary, the image's, the request's (S19)", root, async () => {
  const build = image(
    etc("app:x:1000:1000::/:\n", "a:x:50000:app\nb:x:50001:other,app\nc:x:50002:other\nnine:x:bad:app\n"),
  );
  const context = { runAsUser: { value: 1000n }, supplementalGroups: [1234n] };
  const groups = async (policy: number): Promise<readonly number[] | undefined> => {
    const securityContext = { ...context, supplementalGroupsPolicy: policy };
    return (await build({ container: { linux: { securityContext } } })).process?.user.additionalGids;
  };
  assert.deepEqual(await groups(0), [1000, 1234, 50000, 50001]);
  assert.deepEqual(await groups(1), [1000, 1234]);
  await assert.rejects(groups(2), /supplemental groups policy 2/);
  // another primary group does not take the others away
  const byName = await build({
    container: { linux: { securityContext: { runAsUsername: "app", runAsGroup: { value: 5n } } } },
  });
  assert.deepEqual(byName.process?.user, { uid: 1000, gid: 5, additionalGids: [5, 50000, 50001] });
  for (const bad of [-1n, 2n ** 32n - 1n, 2n ** 40n])
    await assert.rejects(
      build({ container: { linux: { securityContext: { supplementalGroups: [bad] } } } }),
      refusal,
    );
});

test("image environment takes nothing from the daemon (S22)", async () => {
  process.env["GANTRY_SECRET"] = "secret";
  try {
    const spec = await buildContainerSpec(
      containerInput({ image: { env: ["GANTRY_SECRET", "HOME", "PATH=/x"] } }),
    );
    assert.deepEqual(spec.process?.env, ["PATH=/x", "HOSTNAME=host-of-pod"]);
  } finally {
    delete process.env["GANTRY_SECRET"];
  }
});

test("HOME cannot add lines to a user database (S23)", async () => {
  for (const home of ["/r:/bin/sh\nx::0:0::/:/bin/sh", "/a\nb", "/a:b"])
    await assert.rejects(buildContainerSpec(containerInput({ image: { env: [`HOME=${home}`] } })), refusal);
  const spec = await buildContainerSpec(containerInput({ image: { env: ["HOME=/a\\nb"] } }));
  assert.ok(spec.process?.env?.includes("HOME=/a\\nb"));
});

test("environment values are text, whole (T4)", async () => {
  const env = (value: Uint8Array): SpecCase => ({ container: { envs: [{ key: "K", value }] } });
  await assert.rejects(buildContainerSpec(containerInput(env(Uint8Array.of(0x61, 0xff)))), refusal);
  await assert.rejects(buildContainerSpec(containerInput(env(bytes("a\0b")))), refusal);
  const odd = "\ufeffa=b \u{1f600}\n\u0085";
  const spec = await buildContainerSpec(containerInput(env(bytes(odd))));
  assert.ok(spec.process?.env?.includes(`K=${odd}`));
  const proto = await buildContainerSpec(
    containerInput({ container: { envs: [{ key: "__proto__", value: bytes("1") }] } }),
  );
  assert.ok(proto.process?.env?.includes("__proto__=1"));
});

test("a user database is a small regular file inside the image (S24)", root, async () => {
  const named: SpecCase = { image: { user: "app" } };
  const prepared = (fill: (file: string, path: string) => void) =>
    image((path) => {
      mkdirSync(join(path, "etc"));
      fill(join(path, "etc/passwd"), path);
    });
  const canary = join(dir, "canary-passwd");
  writeFileSync(canary, "app:x:0:0::/:\n");
  const traps: Record<string, (file: string, path: string) => void> = {
    "two gigabytes of nothing": (file) => {
      writeFileSync(file, "");
      truncateSync(file, 2 ** 31);
    },
    "a fifo": (file) => mkfifo(file, 0o644),
    "a device of the node": (file) => symlinkSync("/dev/zero", file),
    "a file of the node": (file) => symlinkSync(canary, file),
    "a file of the node, by going up": (file) => symlinkSync(`../../../../../../../${canary}`, file),
    "too many links": (file, path) => {
      for (let i = 0; i < 41; i++) symlinkSync(`l${i + 1}`, join(path, `etc/l${i}`));
      writeFileSync(join(path, "etc/l41"), "app:x:0:0::/:\n");
      symlinkSync("l0", file);
    },
    "a folder": (file) => mkdirSync(file),
  };
  for (const [name, fill] of Object.entries(traps))
    await assert.rejects(prepared(fill)(named), refusal, name);
  // a link inside is followed
  const inside = image((path) => {
    mkdirSync(join(path, "etc"));
    writeFileSync(join(path, "users"), "app:x:7:8::/:\n");
    symlinkSync("/users", join(path, "etc/passwd"));
  });
  assert.equal((await inside(named)).process?.user.uid, 7);
  // numbers work whatever the file is
  const broken = prepared((file) => mkfifo(file, 0o644));
  assert.equal((await broken({ image: { user: "9" } })).process?.user.uid, 9);
});

test("volumes are filled from inside the image only (S26)", root, async () => {
  const canary = join(dir, "canary");
  mkdirSync(canary);
  writeFileSync(join(canary, "secret"), "secret");
  const build = image((path) => {
    symlinkSync(canary, join(path, "absolute"));
    symlinkSync("../".repeat(20) + canary.slice(1), join(path, "upwards"));
    symlinkSync("/nowhere", join(path, "dangling"));
    mkdirSync(join(path, "nested"));
    symlinkSync(`${canary}/..`, join(path, "nested/deep"));
  });
  const spec = await build({
    image: {
      volumes: ["/absolute", "/upwards", "/dangling", "/nested/deep/canary", "/../../etc", "relative"],
    },
  });
  const volumes = (spec.mounts ?? []).filter((m) => m.source?.includes(".state/volumes/"));
  assert.deepEqual(volumes.map((m) => m.destination).sort(), [
    "/absolute",
    "/dangling",
    "/etc",
    "/nested/deep/canary",
    "/relative",
    "/upwards",
  ]);
  for (const { source = "", destination } of volumes) assert.deepEqual(readdirSync(source), [], destination);
  assert.deepEqual(readdirSync(canary), ["secret"]);
});

test("volumes keep owners, modes, links and names", root, async () => {
  const name = Buffer.from([0x66, 0xff, 0x6f]);
  const build = image((path) => {
    const data = join(path, "data");
    mkdirSync(join(data, "sub"), { recursive: true });
    writeFileSync(join(data, "file"), "content");
    chownSync(join(data, "file"), 12, 34);
    chmodSync(join(data, "file"), 0o4751);
    linkSync(join(data, "file"), join(data, "sub/twin"));
    symlinkSync("/etc/shadow", join(data, "link"));
    mkfifo(join(data, "pipe"), 0o640);
    if (!isDeno) writeFileSync(Buffer.concat([Buffer.from(`${data}/`), name]), "");
    chownSync(data, 5, 6);
    chmodSync(data, 0o1777);
  });
  const spec = await build({ image: { volumes: ["/data/"] } });
  const source = spec.mounts?.find((m) => m.destination === "/data")?.source ?? "";
  const top = lstatSync(source);
  assert.deepEqual([top.uid, top.gid, top.mode & 0o7777], [5, 6, 0o1777]);
  const file = lstatSync(join(source, "file"));
  assert.deepEqual([file.uid, file.gid, file.mode & 0o7777, file.nlink], [12, 34, 0o4751, 2]);
  assert.equal(lstatSync(join(source, "sub/twin")).ino, file.ino);
  assert.equal(readFileSync(join(source, "file"), "utf8"), "content");
  assert.equal(readlinkSync(join(source, "link")), "/etc/shadow");
  assert.ok(lstatSync(join(source, "pipe")).isFIFO());
  // Deno's file functions take names as text
  if (!isDeno) assert.ok(readdirSync(source, { encoding: "buffer" }).some((entry) => entry.equals(name)));
});

test("the working directory does not lead through open files (S27)", async () => {
  for (const cwd of [
    "/proc/self/fd/7",
    "/proc/1/fd/3/../..",
    "//proc//self/./fd/8",
    "/proc/thread-self/cwd",
    "/a/\0",
  ]) {
    await assert.rejects(buildContainerSpec(containerInput({ image: { workingDir: cwd } })), refusal, cwd);
    await assert.rejects(
      buildContainerSpec(containerInput({ container: { workingDir: cwd } })),
      refusal,
      cwd,
    );
  }
  const spec = await buildContainerSpec(containerInput({ image: { workingDir: "relative" } }));
  assert.equal(spec.process?.cwd, "/relative");
});

test("/proc, /sys and /dev of an image are folders (S49, S52)", root, async () => {
  for (const place of ["proc", "sys", "dev"]) {
    await assert.rejects(image((path) => symlinkSync("/tmp", join(path, place)))({}), /is a symbolic link/);
    await assert.rejects(image((path) => writeFileSync(join(path, place), ""))({}), /is no directory/);
    await image((path) => mkdirSync(join(path, place)))({});
  }
});

test("sysctls name one parameter, the pod's own (S31)", async () => {
  const build = (sysctls: Record<string, string>, more: SpecCase["pod"] = {}) =>
    buildSandboxSpec(
      sandboxInput({
        pod: { ...more, linux: { ...(more.linux as object), sysctls } } as NonNullable<SpecCase["pod"]>,
      }),
    );
  const bad: readonly [string, string][] = [
    ["net.ipv4.ip_forward", "1+kernel.core_pattern=|/bin/sh"],
    ["net.ipv4.ip_forward", "1\nkernel.core_pattern=x"],
    ["kernel.core_pattern", "|/bin/sh"],
    ["vm.swappiness", "1"],
    ["kernel.shmmax.x", "1"],
    ["net/../kernel/core_pattern", "x"],
    ["net.ipv4/../../kernel.core_pattern", "x"],
    ["fs.protected_symlinks", "0"],
    ["", "1"],
    ["net", "1"],
    ["net.ipv4.x=1 kernel.y", "1"],
    ["__proto__", "1"],
  ];
  for (const [key, value] of bad) await assert.rejects(build({ [key]: value }), refusal, `${key}=${value}`);
  const spec = await build({ "net/ipv4/conf/eth0.1/forwarding": "1", "fs.mqueue.msg_max": "9" });
  assert.equal(spec.linux?.sysctl?.["net.ipv4.conf.eth0/1.forwarding"], "1");
  const onNode = { securityContext: { namespaceOptions: { network: 2, ipc: 2 } } };
  await assert.rejects(build({ "net.ipv4.ip_forward": "1" }, { linux: onNode }), /host's network/);
  await assert.rejects(build({ "kernel.shmmax": "1" }, { linux: onNode }), /host's IPC/);
});

test("annotations add nothing that the configuration does not let through (S32)", async () => {
  const annotations = {
    "org.systemd.property.ExecStart": "'/bin/sh'",
    "cdi.k8s.io/dev": "vendor.test/dev=1",
    "io.kubernetes.cri.sandbox-id": "other",
  };
  const spec = await buildContainerSpec(containerInput({ pod: { annotations } }));
  assert.deepEqual(
    Object.keys(spec.annotations ?? {}).filter((key) => !key.startsWith("io.kubernetes.cri.")),
    [],
  );
  assert.equal(spec.annotations?.["io.kubernetes.cri.sandbox-id"], "p1");
  // of the container's own, devices must be described on the node
  await assert.rejects(
    buildContainerSpec(
      containerInput({
        container: { annotations: { "cdi.k8s.io/dev": "vendor.test/dev=1" } },
        settings: { cdiSpecDirs: ["/nonexistent"] },
      }),
    ),
    /unresolvable CDI devices/,
  );
});

test("cgroup parents stay below the root", async () => {
  const path = async (cgroupParent: string): Promise<string | undefined> =>
    (await buildContainerSpec(containerInput({ pod: { linux: { cgroupParent } } }))).linux?.cgroupsPath;
  assert.equal(await path("/../../x"), "/x/c1");
  assert.equal(await path("a/../../../b"), "/b/c1");
});

test("a request for a bind mount makes nothing but its own source", root, async () => {
  const source = join(dir, "made/by/mount");
  const spec = await buildContainerSpec(
    containerInput({ container: { mounts: [{ hostPath: source, containerPath: "/m" }] } }),
  );
  assert.ok(lstatSync(source).isDirectory());
  assert.equal(spec.mounts?.at(-1)?.source, source);
  const dangling = join(dir, "dangling-source");
  symlinkSync(join(dir, "target-that-is-not-there"), dangling);
  await assert.rejects(
    buildContainerSpec(
      containerInput({ container: { mounts: [{ hostPath: dangling, containerPath: "/m" }] } }),
    ),
    /failed to mkdir/,
  );
  assert.ok(!existsSync(join(dir, "target-that-is-not-there")));
});
