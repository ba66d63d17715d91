/**
 * Hostile images and requests through `ctr run`, daemon and shim (reliability S18-S22, S25-S27, S39, S40, S43, S44, S48, S49, S51,
 * S52). Our daemon and our `ctr`; needs root and runc.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { OciLayout, type RunConfig } from "../../scripts/lib/oci-layout.ts";
import { TarWriter } from "../../scripts/lib/tar-writer.ts";
import { shell } from "./client.ts";
import { remove } from "./scenarios/containers.ts";
import { type Bed, useBed } from "./suite.ts";
import { taskRow } from "./tasks.ts";

// in the daemon's environment, too: it is started below
process.env["GANTRY_SECRET"] = "of the host";
const holder = useBed("ours", "ours");

/** Imports an image made of busybox and `change`, and removes it after `run`. */
async function withImage(
  { ctr, dir }: Bed,
  config: RunConfig,
  change: (tar: TarWriter) => void,
  run: (image: string) => Promise<void>,
): Promise<void> {
  const layout = new OciLayout();
  const base = new TarWriter();
  for (const folder of ["bin", "etc", "run", "tmp"]) base.dir(folder);
  base.file("bin/busybox", readFileSync("/bin/busybox"), 0o755);
  for (const applet of ["sh", "id", "cat", "env", "true", "pwd", "ls"])
    base.symlink(`bin/${applet}`, "busybox");
  const top = new TarWriter();
  change(top);
  const name = "gantry.test/hostile:latest";
  layout.tag(
    "hostile",
    layout.image({ layers: [base.finish(), top.finish()], config: { Env: ["PATH=/bin"], ...config } }),
  );
  const archive = join(dir, "hostile.tar");
  writeFileSync(archive, layout.archive("hostile", name));
  await ctr.ok("images", "import", archive);
  try {
    await run(name);
  } finally {
    await ctr.ok("images", "rm", "--sync", name);
  }
}

const plain = (): void => {};

test("USER: never root unless it says so, also where passwd says otherwise (S18); groups as the database has them (S19)", () =>
  holder.check((bed) =>
    withImage(
      bed,
      {},
      (tar) =>
        tar
          .file("etc/passwd", "root:x:0:0::/:/bin/sh\n2147483648:x:0:0::/:\n-1:x:0:0::/:\nweb:x:33:34::/:\n")
          .file("etc/group", "root:x:0:\nwww:x:34:\nmore:x:1234:web\n"),
      async (image) => {
        const { ctr, engine } = bed;
        const odd = [
          "2147483648",
          "4294967296",
          "9".repeat(36),
          "-1",
          "0:999999999999",
          " ",
          "0x0",
          "1e0",
          "+0",
          "٠",
          "nobody-here",
        ];
        for (const user of odd) {
          const said = await ctr.run("run", "--rm", "--user", user, image, engine.id("user"), "id", "-u");
          assert.notEqual(said.code, 0, `--user "${user}" ran as ${said.out}`);
        }
        const ids = await ctr.ok("run", "--rm", "--user", "web", image, engine.id("user"), "id", "-G");
        assert.equal(ids, "34 1234\n");
        assert.equal(
          await ctr.ok("run", "--rm", "--user", "00", image, engine.id("user"), "id", "-u"),
          "0\n",
        );
      },
    ),
  ));

test("capabilities: nothing inheritable, nothing ambient, at start and in exec, as root and as a user (S20)", () =>
  holder.check(async ({ ctr, engine, image }) => {
    for (const user of ["0", "1000"]) {
      const id = engine.id("caps");
      await ctr.ok("run", "-d", "--user", user, "--cap-add", "CAP_SYS_ADMIN", image, id, "sleep", "1000");
      const inside = await ctr.ok(
        "tasks",
        "exec",
        "--exec-id",
        "look",
        id,
        "cat",
        "/proc/self/status",
        "/proc/1/status",
      );
      const sets = [...inside.matchAll(/Cap(Inh|Amb):\s+([0-9a-f]+)/g)].map((m) => m[2]);
      assert.deepEqual(new Set(sets), new Set(["0000000000000000"]));
      assert.equal(sets.length, 4);
      await remove(ctr, id);
    }
  }));

test("environments do not mix in 20 concurrent runs (S21); an entry without = takes nothing from the host (S22)", () =>
  holder.check(async (bed) => {
    const { ctr, engine, image } = bed;
    const runs = Array.from({ length: 20 }, async (_v, i) => {
      const out = await ctr.ok("run", "--rm", "--env", `MINE=${i}`, image, engine.id("env"), "env");
      assert.deepEqual(out.match(/^MINE=.*$/gm), [`MINE=${i}`]);
    });
    await Promise.all(runs);
    await withImage(bed, { Env: ["PATH=/bin", "HOME", "GANTRY_SECRET"] }, plain, async (hostile) => {
      const out = await ctr.ok("run", "--rm", hostile, engine.id("env"), "env");
      assert.doesNotMatch(out, /of the host/);
    });
  }));

test("labels of an image never become orders (S25)", () =>
  holder.check((bed) =>
    withImage(
      bed,
      {
        Labels: {
          "containerd.io/restart.status": "running",
          "containerd.io/restart.loguri": "binary:///bin/sh?-c=id",
          "io.cri-containerd.kind": "sandbox",
          "gantry.cni/netns": "/etc/passwd",
          __proto__x: "kept",
        },
      },
      plain,
      async (image) => {
        const id = bed.engine.id("labels");
        await bed.ctr.ok("containers", "create", image, id, "true");
        const { Labels } = JSON.parse(await bed.ctr.ok("containers", "info", id)) as {
          Labels: Record<string, string>;
        };
        assert.deepEqual(
          Object.keys(Labels).filter((key) => /restart|cri-containerd|gantry/.test(key)),
          [],
        );
        assert.equal(Labels["__proto__x"], "kept");
        await bed.ctr.ok("containers", "rm", id);
      },
    ),
  ));

test("WORKDIR through a file descriptor leads nowhere (S27)", () =>
  holder.check(async (bed) => {
    for (const fd of [3, 7, 8, 11])
      await withImage(bed, { WorkingDir: `/proc/self/fd/${fd}` }, plain, async (image) => {
        const said = await bed.ctr.run("run", "--rm", image, bed.engine.id("wd"), "ls", "../../../../etc");
        assert.notEqual(said.code, 0, `fd ${fd}: ${said.out}`);
      });
  }));

test("the folder of an exec through a file descriptor leads nowhere (S27)", () =>
  holder.check(async ({ ctr, engine, image }) => {
    const id = engine.id("cwd");
    await ctr.ok("run", "-d", image, id, "sleep", "1000");
    for (const fd of [3, 7, 8, 11]) {
      const cwd = `/proc/self/fd/${fd}`;
      const said = await ctr.run(
        "tasks",
        "exec",
        "--exec-id",
        `e${fd}`,
        "--cwd",
        cwd,
        id,
        "ls",
        "../../../../etc",
      );
      assert.notEqual(said.code, 0, `fd ${fd}: ${said.out}`);
    }
    await remove(ctr, id);
  }));

for (const place of ["dev", "proc", "sys"])
  test(`an image whose /${place} is a link is refused, and nothing is made behind the link (S49, S51, S52)`, () =>
    holder.check(async (bed) => {
      const canary = join(bed.dir, `canary-${place}`);
      mkdirSync(canary);
      await withImage(
        bed,
        {},
        (tar) => tar.symlink(place, canary),
        async (image) => {
          const said = await bed.ctr.run("run", "--rm", image, bed.engine.id("link"), "true");
          assert.equal(said.code, 1);
          assert.match(said.err, new RegExp(`/${place} is a symbolic link`));
          assert.deepEqual(readdirSync(canary), []);
        },
      );
    }));

test("/dev/null of the image as a link: nothing outside is touched (S51); runc itself stays as it is (S48)", () =>
  holder.check(async (bed) => {
    const canary = join(bed.dir, "canary");
    writeFileSync(canary, "unchanged", { mode: 0o640 });
    const runc = realpathSync("/usr/sbin/runc");
    const hash = (): string => createHash("sha256").update(readFileSync(runc)).digest("hex");
    const before = hash();
    await withImage(
      bed,
      {},
      (tar) => tar.dir("dev").symlink("dev/null", canary).symlink("me", "/proc/self/exe"),
      async (image) => {
        await bed.ctr.run("run", "--rm", image, bed.engine.id("null"), "sh", "-c", "echo over > /dev/null");
        await bed.ctr.run("run", "--rm", image, bed.engine.id("self"), "/me");
      },
    );
    assert.equal(readFileSync(canary, "utf8"), "unchanged");
    assert.equal(hash(), before);
  }));

test("what the host tells of itself is masked (S43); AF_ALG and AF_VSOCK are refused under the default profile (S44)", () =>
  holder.check(async ({ ctr, engine, image, dir }) => {
    const path = join(dir, "spec.json");
    await ctr.ok("run", "--dump-config", path, "--seccomp", image, engine.id("spec"), "true");
    const { linux } = JSON.parse(readFileSync(path, "utf8")) as {
      linux: { maskedPaths: string[]; readonlyPaths: string[]; seccomp: { syscalls: { names: string[] }[] } };
    };
    for (const place of [
      "/proc/acpi",
      "/proc/kcore",
      "/proc/keys",
      "/proc/timer_list",
      "/sys/firmware",
      "/sys/devices/virtual/powercap",
    ])
      assert.ok(linux.maskedPaths.includes(place), place);
    assert.ok(linux.readonlyPaths.includes("/proc/sys"));
    const out = await ctr.ok(
      "run",
      "--rm",
      image,
      engine.id("masked"),
      "sh",
      "-c",
      "cat /proc/keys /proc/timer_list | wc -c; echo x 2>&1 > /proc/sys/kernel/hostname; true",
    );
    assert.match(out, /^0\n/);
    assert.ok(linux.seccomp.syscalls.filter((s) => s.names.includes("socket")).length >= 3);
  }));

test("a container on the host's network finds no socket of ours by abstract name (S39); nobody else walks our folders (S40)", () =>
  holder.check(async ({ ctr, engine, image }) => {
    const id = engine.id("shy");
    await ctr.ok("run", "-d", "--net-host", image, id, "sleep", "1000");
    const names = await ctr.ok("tasks", "exec", "--exec-id", "look", id, "cat", "/proc/net/unix");
    const abstract = names
      .split("\n")
      .filter((line) => / @/.test(line) && /containerd|gantry|shim/.test(line));
    assert.deepEqual(abstract, []);
    const { pid } = await taskRow(ctr, id);
    assert.ok(pid > 0);
    // the folder of the test is 0700 by itself: opened, so that only the daemon's own modes count
    chmodSync(engine.dir, 0o755);
    const bundle = join(engine.state, "io.containerd.runtime.v2.task", engine.namespace, id);
    const inside = [
      engine.root,
      join(bundle, "config.json"),
      join(bundle, "rootfs/bin"),
      join(engine.state, "io.containerd.runtime.v2.task"),
    ];
    for (const path of inside) {
      assert.ok(existsSync(path), path);
      const said = await shell(`busybox setuidgid nobody ls ${path} || exit 9`);
      assert.equal(said.code, 9, `${path}: ${said.out}`);
    }
    const dial = await shell(`busybox setuidgid nobody sh -c 'echo > ${engine.address}' || exit 9`);
    assert.equal(dial.code, 9);
    chmodSync(engine.dir, 0o700);
    await remove(ctr, id);
  }));
