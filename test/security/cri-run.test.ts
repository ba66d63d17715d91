/**
 * Hostile images through CRI, daemon, shim and real runc (reliability S23, S24, S26, S28, S30): what the engine puts into a container
 * (hosts, hostname, resolv.conf, /dev/shm, volumes, mounts) lands inside or nowhere. Needs root, runc and CNI.
 */
import assert from "node:assert/strict";
import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { OciLayout, type RunConfig } from "../../scripts/lib/oci-layout.ts";
import { TarWriter } from "../../scripts/lib/tar-writer.ts";
import { type ContainerConfigSchema, ContainerState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { messageOf } from "../../src/core/errors.ts";
import { until } from "../integration/client.ts";
import { CriBed, cannotRun } from "../integration/cri-bed.ts";

type ContainerInit = MessageInitShape<typeof ContainerConfigSchema>;
const SECRET = "the-secret-of-the-host";

describe("hostile images in pods", { skip: cannotRun }, () => {
  let bed: CriBed;
  let pod: ReturnType<CriBed["pod"]>;
  let podSandboxId: string;
  let canary = "";
  let count = 0;

  before(async () => {
    bed = await CriBed.start();
    canary = join(bed.dir, "canary");
    mkdirSync(canary, { mode: 0o750 });
    writeFileSync(join(canary, "file"), SECRET, { mode: 0o640 });
    pod = bed.pod("hostile");
    ({ podSandboxId } = await bed.runtime.runPodSandbox({ config: pod }));
  });
  after(async () => {
    await bed[Symbol.asyncDispose]();
  });

  const look = (): unknown =>
    [canary, join(canary, "file")].map((path) => {
      const { mode, uid, gid, mtimeMs } = lstatSync(path);
      return { mode, uid, gid, mtimeMs, names: path === canary ? readdirSync(path) : [] };
    });

  /** Runs a container of an image made of busybox and `change`. @returns its output, or why it did not start */
  async function attempt(
    change: (tar: TarWriter) => void,
    config: RunConfig,
    script: string,
    more: ContainerInit = {},
  ): Promise<string> {
    const layout = new OciLayout();
    const base = new TarWriter();
    base.dir("bin").file("bin/busybox", readFileSync("/bin/busybox"), 0o755);
    for (const applet of ["sh", "cat", "id", "ls"]) base.symlink(`bin/${applet}`, "busybox");
    const top = new TarWriter();
    change(top);
    const name = `gantry.test/hostile:${count}`;
    layout.tag(
      "hostile",
      layout.image({ layers: [base.finish(), top.finish()], config: { Env: ["PATH=/bin"], ...config } }),
    );
    const archive = join(bed.dir, "hostile.tar");
    writeFileSync(archive, layout.archive("hostile", name));
    bed.ctr("images", "import", archive);
    const container = bed.container(`c${count++}`, script, {
      ...more,
      image: { image: name },
    } as ContainerInit);
    const before_ = look();
    try {
      const { containerId } = await bed.runtime.createContainer({
        podSandboxId,
        config: container,
        sandboxConfig: pod,
      });
      try {
        await bed.runtime.startContainer({ containerId });
        await until("its end", async () => {
          const { status } = await bed.runtime.containerStatus({ containerId });
          return status?.state === ContainerState.CONTAINER_EXITED;
        });
        return readFileSync(join(bed.dir, "logs/hostile", `c${count - 1}.log`), "utf8");
      } finally {
        await bed.runtime.removeContainer({ containerId });
      }
    } catch (err) {
      return `refused: ${messageOf(err)}`;
    } finally {
      assert.deepEqual(look(), before_, "the host's folder changed");
    }
  }

  test("files of the engine onto links of the image (S28)", async () => {
    for (const target of [canary, "../../../../../../../../..", "/proc/self/root", `${canary}/file`]) {
      for (const place of ["etc", "dev/shm", "etc/hosts", "etc/resolv.conf", "etc/mtab", "run"]) {
        if (place === "dev/shm" && target.startsWith("/proc")) continue;
        const said = await attempt(
          (tar) => {
            if (place.includes("/")) tar.dir(place.split("/")[0] ?? "");
            tar.symlink(place, target);
          },
          {},
          `cat /${place} /${place}/file ${canary}/file /file 2>/dev/null; echo over`,
        );
        assert.doesNotMatch(said, new RegExp(SECRET), `${place} -> ${target}`);
        assert.match(said, /over|refused/, `${place} -> ${target}`);
      }
    }
  });

  test("mounts of the request onto links of the image (S28), volumes of the image that are links (S26)", async () => {
    const source = join(bed.dir, "mounted");
    mkdirSync(source);
    writeFileSync(join(source, "mark"), "mounted");
    for (const target of [canary, "../../../../../../../../..", "/nowhere"]) {
      const mounts = [{ hostPath: source, containerPath: "/mnt/deep/er" }];
      const said = await attempt(
        (tar) => tar.symlink("mnt", target).symlink("v", target),
        { Volumes: { "/v": {}, "/v/file": {}, "/../../v": {} } } as RunConfig,
        `cat /v/file /v/* ${canary}/file 2>/dev/null; cat /mnt/deep/er/mark; echo over`,
        { mounts },
      );
      assert.doesNotMatch(said, new RegExp(SECRET), target);
      assert.match(said, /mounted(.|\n)*over|refused/, target);
    }
    assert.deepEqual(readdirSync(source), ["mark"]);
  });

  test("logs stay below the pod's folder, which is an absolute path (S30)", async () => {
    const create = async (logPath: string, logDirectory: string): Promise<string> => {
      const config = bed.container("logged", "true", { logPath });
      const sandboxConfig = { ...pod, logDirectory } as typeof pod;
      const { containerId } = await bed.runtime.createContainer({ podSandboxId, config, sandboxConfig });
      await bed.runtime.removeContainer({ containerId });
      return "taken";
    };
    const logs = join(bed.dir, "logs");
    assert.equal(await create("sub/x.log", logs), "taken");
    for (const [path, dir] of [
      ["../canary/file", logs],
      ["a/../../canary/file", logs],
      ["..", logs],
      [".", logs],
      ["a\0b", logs],
      ["x.log", "logs"],
      ["x.log", ".."],
    ] as const)
      await assert.rejects(create(path, dir), { code: "invalid-argument" }, `${path} below ${dir}`);
    assert.equal(readFileSync(join(canary, "file"), "utf8"), SECRET);
  });

  test("user databases that are no small files (S24), HOME with a line of its own (S23)", async () => {
    const user = { User: "web" };
    for (const target of ["/dev/zero", join(canary, "file"), `../../../..${canary}/file`, "/proc/kmsg"]) {
      const begun = performance.now();
      const said = await attempt(
        (tar) => tar.dir("etc").symlink("etc/passwd", target),
        user,
        "id -u; echo over",
      );
      assert.match(said, /^refused/, target);
      assert.ok(performance.now() - begun < 20_000, target);
    }
    const said = await attempt(
      (tar) => tar.dir("etc").file("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
      { Env: ["PATH=/bin", "HOME=/r:/bin/sh\nx::0:0::/:/bin/sh"] },
      "cat /etc/passwd; id -u x; echo over",
    );
    assert.match(said, /^refused|over/);
    assert.doesNotMatch(said, /F x::0:0/);
  });
});
