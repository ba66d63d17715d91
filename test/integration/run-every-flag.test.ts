/** Every flag of `ctr run` has an effect that the container or its record shows. Our daemon and our `ctr`; needs root and runc. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "./client.ts";
import { remove, status } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";
import { taskRow } from "./tasks.ts";

const holder = useBed("ours", "ours");

/** Runs a shell script in a container with flags. @returns its output */
async function inside(
  { ctr, engine, image }: Bed,
  flags: readonly string[],
  script: string,
): Promise<string> {
  return await ctr.ok("run", "--rm", ...flags, image, engine.id("flag"), "sh", "-c", script);
}

interface Spec {
  process: { rlimits: unknown; noNewPrivileges: boolean; capabilities: { bounding: string[] } };
  linux: Record<string, unknown> & { resources: Record<string, Record<string, unknown>> };
  annotations: Record<string, string>;
}

/** The spec that flags give, without running it. */
async function specOf({ ctr, engine, image, dir }: Bed, flags: readonly string[]): Promise<Spec> {
  const path = join(dir, "dumped.json");
  assert.equal(await ctr.ok("run", "--dump-config", path, ...flags, image, engine.id("dump"), "true"), "");
  return JSON.parse(readFileSync(path, "utf8")) as Spec;
}

test("--dump-config writes the spec and makes nothing", () =>
  holder.check(async (bed) => {
    const spec = await specOf(bed, ["--annotation", "a=b"]);
    assert.equal(spec.annotations["a"], "b");
    assert.equal(await bed.ctr.ok("containers", "ls", "-q"), "");
  }));

test("process: --cwd --env --env-file --hostname --user --rlimit-nofile --allow-new-privs --cap-add --cap-drop", () =>
  holder.check(async (bed) => {
    const file = join(bed.dir, "env");
    writeFileSync(file, "# a comment\nFROM_FILE=one two\n");
    const out = await inside(
      bed,
      [
        "--cwd",
        "/tmp",
        "--env",
        "E=f",
        "--env-file",
        file,
        "--hostname",
        "boxed",
        "--user",
        "7:8",
        "--rlimit-nofile",
        "77",
      ],
      "pwd; echo $E,$FROM_FILE; hostname; id -u; id -g; ulimit -n; grep NoNewPrivs /proc/self/status",
    );
    assert.equal(out, "/tmp\nf,one two\nboxed\n7\n8\n77\nNoNewPrivs:\t1\n");
    assert.match(await inside(bed, ["--allow-new-privs"], "grep NoNewPrivs /proc/self/status"), /\t0\n/);
    const { capabilities } = (await specOf(bed, ["--cap-add", "CAP_SYS_PTRACE", "--cap-drop", "CAP_CHOWN"]))
      .process;
    assert.ok(capabilities.bounding.includes("CAP_SYS_PTRACE"));
    assert.ok(!capabilities.bounding.includes("CAP_CHOWN"));
  }));

test("files: --read-only --mount --rootfs --rootfs-propagation --device", () =>
  holder.check(async (bed) => {
    const { ctr, engine, dir } = bed;
    assert.match(await inside(bed, ["--read-only"], "touch /x 2>&1; true"), /Read-only/);
    writeFileSync(join(dir, "seen"), "through");
    const mount = `type=bind,src=${dir},dst=/m,options=rbind:ro`;
    assert.match(
      await inside(bed, ["--mount", mount], "cat /m/seen; touch /m/y 2>&1; true"),
      /^through.*Read-only/s,
    );
    const device = await inside(bed, ["--device", "/dev/loop-control"], "stat -c %F /dev/loop-control");
    assert.equal(device, "character special file\n");
    assert.equal((await specOf(bed, ["--rootfs-propagation", "slave"])).linux["rootfsPropagation"], "slave");
    const rootfs = join(dir, "rootfs");
    mkdirSync(join(rootfs, "bin"), { recursive: true });
    for (const name of ["proc", "dev", "sys", "run", "tmp"]) mkdirSync(join(rootfs, name));
    cpSync("/bin/busybox", join(rootfs, "bin/busybox"));
    const own = await ctr.ok(
      "run",
      "--rm",
      "--rootfs",
      rootfs,
      engine.id("own"),
      "/bin/busybox",
      "ls",
      "/bin",
    );
    assert.equal(own, "busybox\n");
  }));

test("limits: --memory-limit --cpus --cpu-quota --cpu-period --cpu-shares --cpuset-cpus --cpuset-mems", () =>
  holder.check(async (bed) => {
    const { resources } = (
      await specOf(bed, [
        "--memory-limit",
        "33554432",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--cpuset-cpus",
        "0",
        "--cpuset-mems",
        "0",
      ])
    ).linux;
    assert.equal(resources["memory"]?.["limit"], 33_554_432);
    assert.deepEqual(resources["cpu"], { quota: 50_000, period: 100_000, shares: 512, cpus: "0", mems: "0" });
    const quota = (await specOf(bed, ["--cpu-quota", "20000", "--cpu-period", "50000"])).linux.resources[
      "cpu"
    ];
    assert.deepEqual(quota, { quota: 20_000, period: 50_000 });
    const id = bed.engine.id("limited");
    const flags = [
      "--memory-limit",
      "33554432",
      "--cpus",
      "0.5",
      "--cpu-shares",
      "512",
      "--cpuset-cpus",
      "0",
    ];
    await bed.ctr.ok("run", "-d", ...flags, bed.image, id, "sleep", "1000");
    const metrics = await bed.ctr.ok("tasks", "metrics", id);
    assert.match(metrics, /memory\.limit_in_bytes|memory\.max|limit/);
    const json = JSON.parse(await bed.ctr.ok("tasks", "metrics", "--format", "json", id)) as object;
    assert.ok(JSON.stringify(json).includes("33554432"));
    await remove(bed.ctr, id);
    for (const [flag, value] of [
      ["--cpus", "none"],
      ["--memory-limit", "lots"],
      ["--rlimit-nofile", "x"],
    ] as const) {
      const said = await bed.ctr.run("run", "--rm", flag, value, bed.image, bed.engine.id("bad"), "true");
      assert.equal(said.code, 1);
      assert.match(said.err, new RegExp(flag));
    }
  }));

test("--cgroup names it; --blockio-class, --blockio-config-file and --rdt-class reach the spec", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    const id = engine.id("grouped");
    await ctr.ok("run", "-d", "--cgroup", `/${engine.namespace}/named-${id}`, image, id, "sleep", "1000");
    const { pid } = await taskRow(ctr, id);
    assert.match(readFileSync(`/proc/${pid}/cgroup`, "utf8"), new RegExp(`/${engine.namespace}/named-${id}`));
    await remove(ctr, id);
    const file = join(dir, "blockio.yaml");
    writeFileSync(file, "Classes:\n  slow:\n    - Weight: 30\n");
    const { linux } = await specOf(bed, [
      "--blockio-config-file",
      file,
      "--blockio-class",
      "slow",
      "--rdt-class",
      "gold",
    ]);
    assert.deepEqual(linux.resources["blockIO"], { weight: 30 });
    assert.deepEqual(linux["intelRdt"], { closID: "gold" });
    const none = await ctr.run("run", "--rm", "--blockio-class", "slow", image, engine.id("x"), "true");
    assert.match(none.err, /--blockio-config-file/);
  }));

test("namespaces: --net-host --with-ns --privileged", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image } = bed;
    const host = await inside(bed, ["--net-host"], "readlink /proc/self/ns/net");
    assert.equal(host.trim(), spawnSync("readlink", ["/proc/self/ns/net"]).stdout.toString().trim());
    const id = engine.id("owner");
    await ctr.ok("run", "-d", image, id, "sleep", "1000");
    const { pid } = await taskRow(ctr, id);
    const joined = await inside(bed, ["--with-ns", `uts:/proc/${pid}/ns/uts`], "readlink /proc/self/ns/uts");
    assert.equal(
      joined.trim(),
      spawnSync("readlink", [`/proc/${pid}/ns/uts`])
        .stdout.toString()
        .trim(),
    );
    await remove(ctr, id);
    assert.match(await inside(bed, ["--privileged"], "grep CapEff /proc/self/status"), /f{6,}/);
  }));

test("records: --label --annotation --snapshotter --snapshotter-label --sandbox --runtime --runc-root --runc-binary", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    const id = engine.id("record");
    const root = join(dir, "runc-root");
    const flags = [
      "--label",
      "l=m",
      "--snapshotter",
      "overlayfs",
      "--snapshotter-label",
      "containerd.io/snapshot/test=1",
    ];
    const runc = ["--runc-root", root, "--runc-binary", "/usr/sbin/runc"];
    await ctr.ok("run", "-d", ...flags, ...runc, image, id, "sleep", "1000");
    assert.deepEqual(readdirSync(join(root, engine.namespace)), [id]);
    const info = JSON.parse(await ctr.ok("containers", "info", id)) as Record<string, Record<string, string>>;
    assert.equal(info["Labels"]?.["l"], "m");
    const snapshot = JSON.parse(await ctr.ok("snapshots", "info", id)) as { Labels: Record<string, string> };
    assert.equal(snapshot.Labels["containerd.io/snapshot/test"], "1");
    await remove(ctr, id);
    const config = join(dir, "runtime.toml");
    writeFileSync(config, "");
    const other = engine.id("config");
    await ctr.ok("containers", "create", "--runtime-config-path", config, image, other, "true");
    const kept = await ctr.ok("containers", "info", other);
    assert.match(kept, /runtimeoptions\.v1\.Options/);
    await ctr.ok("containers", "rm", other);
  }));

test(
  "--runc-systemd-cgroup is passed on: without systemd runc says so",
  { skip: existsSync("/run/systemd/system") },
  () =>
    holder.check(async ({ ctr, engine, image }) => {
      const said = await ctr.run(
        "run",
        "--rm",
        "--runc-systemd-cgroup",
        "--cgroup",
        "system.slice:e2e:x",
        image,
        engine.id("sd"),
        "true",
      );
      assert.equal(said.code, 1);
      assert.match(said.err, /systemd/);
    }),
);

test("streams: --null-io --log-uri --fifo-dir --pid-file --tty, and --no-pivot", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    assert.equal(await inside(bed, ["--null-io"], "echo nobody hears"), "");
    const log = join(dir, "out.log");
    assert.equal(await inside(bed, ["--log-uri", `file://${log}`], "echo kept"), "");
    assert.equal(readFileSync(log, "utf8"), "kept\n");
    const fifos = join(dir, "fifos");
    const pidFile = join(dir, "pid");
    const id = engine.id("streams");
    await ctr.ok(
      "run",
      "-d",
      "--fifo-dir",
      fifos,
      "--pid-file",
      pidFile,
      "--no-pivot",
      image,
      id,
      "sleep",
      "1000",
    );
    assert.equal(readdirSync(fifos).length, 1);
    assert.equal(Number(readFileSync(pidFile, "utf8")), (await taskRow(ctr, id)).pid);
    await remove(ctr, id);
    const tty = spawnSync("script", [
      "-qec",
      ctr.line("run", "--rm", "--tty", image, engine.id("tty"), "tty"),
      "/dev/null",
    ]);
    assert.match(tty.stdout.toString(), /\/dev\/pts\/0|\/dev\/console/);
  }));

test("--seccomp-profile: the file's profile is in force, a wrong one is named; --config: a spec file", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image, dir } = bed;
    const profile = join(dir, "seccomp.json");
    const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" };
    writeFileSync(profile, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] }));
    assert.match(
      await inside(bed, ["--seccomp", "--seccomp-profile", profile], "mkdir /d 2>&1; true"),
      /not permitted/,
    );
    writeFileSync(profile, "{}");
    const said = await ctr.run(
      "run",
      "--rm",
      "--seccomp",
      "--seccomp-profile",
      profile,
      image,
      engine.id("x"),
      "true",
    );
    assert.match(said.err, /no defaultAction/);
    const spec = await specOf(bed, []);
    const rootfs = join(dir, "bundle");
    mkdirSync(join(rootfs, "bin"), { recursive: true });
    for (const name of ["proc", "dev", "sys", "run", "tmp"]) mkdirSync(join(rootfs, name));
    cpSync("/bin/busybox", join(rootfs, "bin/busybox"));
    const file = join(dir, "config.json");
    const process = { ...spec.process, args: ["/bin/busybox", "echo", "from a file"] };
    writeFileSync(file, JSON.stringify({ ...spec, process, root: { path: rootfs } }));
    assert.equal(await ctr.ok("run", "--rm", "--config", file, engine.id("config")), "from a file\n");
  }));

test("tasks exec: --cwd --user by number and by name --log-uri --fifo-dir; kill by name and number, --all", () =>
  holder.check(async ({ ctr, engine, image, dir }) => {
    const id = engine.id("exec");
    await ctr.ok("run", "-d", image, id, "sh", "-c", "trap 'exit 21' USR1; while :; do sleep 0.1; done");
    const exec = async (...args: string[]): Promise<string> =>
      await ctr.ok("tasks", "exec", "--exec-id", engine.id("e"), ...args);
    assert.equal(
      await exec("--cwd", "/tmp", "--user", "7:8", id, "sh", "-c", "pwd; id -u; id -g"),
      "/tmp\n7\n8\n",
    );
    await exec(
      id,
      "sh",
      "-c",
      "mkdir -p /etc; echo web:x:77:78::/srv: > /etc/passwd; echo www:x:79:web > /etc/group",
    );
    assert.equal(await exec("--user", "web", id, "sh", "-c", "id -u; id -G"), "77\n78 79\n");
    assert.equal(await exec("--user", "web:www", id, "id", "-g"), "79\n");
    const nobody = await ctr.run("tasks", "exec", "--exec-id", "n", "--user", "no-such-name", id, "true");
    assert.match(nobody.err, /no-such-name/);
    const log = join(dir, "exec.log");
    await exec("--log-uri", `file://${log}`, id, "echo", "logged");
    assert.equal(readFileSync(log, "utf8"), "logged\n");
    await ctr.ok("tasks", "exec", "-d", "--exec-id", "stays", id, "sleep", "1000");
    await ctr.ok("tasks", "kill", "--exec-id", "stays", "-s", "9", id);
    await until("its end", async () => (await ctr.run("tasks", "rm", "--exec-id", "stays", id)).code === 0);
    await ctr.ok("tasks", "kill", "-s", "usr1", id);
    await until("the end", async () => (await status(ctr, id)) === "STOPPED");
    const end = await ctr.run("tasks", "rm", id);
    assert.match(end.err, /exit code 21/);
    await ctr.ok("tasks", "start", "-d", id);
    await ctr.ok("tasks", "kill", "--all", "-s", "SIGKILL", id);
    await until("the end", async () => (await status(ctr, id)) === "STOPPED");
    await remove(ctr, id);
  }));
