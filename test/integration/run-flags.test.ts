/**
 * Flags of `ctr run` that reach into the kernel: seccomp, user namespaces, CNI networks, devices. Our daemon and our `ctr`. Needs
 * root, runc, and for the network Debian's containernetworking-plugins.
 */
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { shell } from "./client.ts";
import { remove } from "./scenarios/containers.ts";
import { useBed } from "./suite.ts";

const holder = useBed("ours", "ours");

describe("ctr run", () => {
  test("--seccomp: the default profile is on and refuses namespaces", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const script = "grep Seccomp: /proc/self/status; unshare -U true 2>&1; echo code $?";
      const free = await ctr.ok("run", "--rm", image, engine.id("sec"), "sh", "-c", script);
      assert.match(free, /Seccomp:\s+0\n[\s\S]*code 0/);
      const bound = await ctr.ok("run", "--rm", "--seccomp", image, engine.id("sec"), "sh", "-c", script);
      assert.match(bound, /Seccomp:\s+2\n[\s\S]*not permitted[\s\S]*code 1/);
      // what the capabilities allow stays possible
      const admin = ["--seccomp", "--cap-add", "CAP_SYS_ADMIN", image, engine.id("sec"), "sh", "-c", script];
      assert.match(await ctr.ok("run", "--rm", ...admin), /Seccomp:\s+2\n[\s\S]*code 0/);
    }));

  test(
    "--apparmor-default-profile: a kernel without AppArmor is named",
    { skip: existsSync("/sys/module/apparmor") },
    () =>
      holder.check(async ({ ctr, engine, image }) => {
        const said = await ctr.run(
          "run",
          "--rm",
          "--apparmor-default-profile",
          "x",
          image,
          engine.id("aa"),
          "true",
        );
        assert.equal(said.code, 1);
        assert.match(said.err, /this kernel has no AppArmor/);
      }),
  );

  test("--uidmap: the container's root is nobody outside, and owns its files", () =>
    holder.check(
      async ({ ctr, engine, image }) => {
        // the mapped root must get through to its files; an engine's own folder is the system's and open to pass
        chmodSync(engine.dir, 0o711);
        const map = ["--uidmap", "0:200000:65536", "--gidmap", "0:300000:65536"];
        const script =
          "cat /proc/self/uid_map /proc/self/gid_map; stat -c %u:%g /bin/busybox /; touch /new && stat -c %u:%g /new";
        const out = await ctr.ok("run", "--rm", ...map, image, engine.id("user"), "sh", "-c", script);
        assert.match(out, /^\s*0\s+200000\s+65536\n\s*0\s+300000\s+65536\n0:0\n0:0\n0:0\n$/);
        const half = await ctr.run("run", "--rm", "--uidmap", "0:1:2", image, engine.id("user"), "true");
        assert.match(half.err, /one needs the other/);
        // the same, asked for by name: overlayfs can
        const labels = await ctr.ok(
          "run",
          "--rm",
          "--remap-labels",
          ...map,
          image,
          engine.id("user"),
          "stat",
          "-c",
          "%u:%g",
          "/bin/busybox",
        );
        assert.equal(labels, "0:0\n");
      },
      ["snapshots", "snapshots on disk"],
    ));

  test("--privileged has the machine's devices, --privileged-without-host-devices has not", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const count = ["sh", "-c", "find /dev -type b -o -type c | wc -l"];
      const all = Number(await ctr.ok("run", "--rm", "--privileged", image, engine.id("dev"), ...count));
      const flags = ["--privileged", "--privileged-without-host-devices"];
      const few = Number(await ctr.ok("run", "--rm", ...flags, image, engine.id("dev"), ...count));
      assert.ok(all > few, `${all} devices, without the host's ${few}`);
    }));

  test("--gpus: a device that nobody describes is named", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const said = await ctr.run(
        "run",
        "--rm",
        "--gpus",
        "no-such.test/gpu=7",
        image,
        engine.id("gpu"),
        "true",
      );
      assert.equal(said.code, 1);
      assert.match(said.err, /CDI device "no-such.test\/gpu=7".*not found/);
    }));
});

const PLUGINS = "/usr/lib/cni";
const noPlugins = existsSync(join(PLUGINS, "bridge")) ? false : "no CNI plugins";

describe("ctr run --cni", { skip: noPlugins }, () => {
  const conf = mkdtempSync(join(tmpdir(), "gantry-net-d-"));
  const leases = join(conf, "leases");
  const bridge = `gt${process.pid % 100_000}`;
  mkdirSync(leases);
  writeFileSync(
    join(conf, "10-test.conflist"),
    JSON.stringify({
      cniVersion: "1.0.0",
      name: bridge,
      plugins: [
        {
          type: "bridge",
          bridge,
          isGateway: true,
          ipam: { type: "host-local", dataDir: leases, ranges: [[{ subnet: "10.213.77.0/24" }]] },
        },
      ],
    }),
  );
  process.env["NETCONFPATH"] = conf;
  process.env["CNI_PATH"] = PLUGINS;
  after(async () => {
    await shell(`ip link del ${bridge} 2>/dev/null; true`);
    rmSync(conf, { recursive: true, force: true });
  });
  const taken = (): string[] =>
    existsSync(join(leases, bridge))
      ? readdirSync(join(leases, bridge)).filter((n) => n.startsWith("10."))
      : [];

  test("--rm: an address while it runs, none after", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const script = "ip -4 -o addr show eth0; ping -c1 -W2 10.213.77.1 >/dev/null && echo reached";
      const out = await ctr.ok("run", "--rm", "--cni", image, engine.id("net"), "sh", "-c", script);
      assert.match(out, /inet 10\.213\.77\.\d+\/24/);
      assert.match(out, /reached/);
      assert.deepEqual(taken(), []);
    }));

  test("detached: the network lives until the container is removed", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const id = engine.id("net");
      await ctr.ok("run", "-d", "--cni", image, id, "sleep", "1000");
      assert.equal(taken().length, 1);
      await remove(ctr, id);
      assert.deepEqual(taken(), []);
    }));

  test("a container that cannot start leaves nothing", () =>
    holder.check(async ({ ctr, engine, image }) => {
      const said = await ctr.run("run", "--rm", "--cni", image, engine.id("net"), "/no/such/program");
      assert.notEqual(said.code, 0);
      assert.deepEqual(taken(), []);
    }));
});
