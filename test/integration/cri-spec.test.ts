/** What specs make of containers: volumes, image mounts, users, limits, base spec. Real daemon, runc, CNI. Needs root; see cri-bed.ts. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type ContainerConfigSchema, ContainerState } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import { messageOf } from "../../src/core/errors.ts";
import { imageName, testImages } from "../fixtures/images.ts";
import { until } from "./client.ts";
import { BUSYBOX, CriBed, cannotRun } from "./cri-bed.ts";

type ContainerInit = MessageInitShape<typeof ContainerConfigSchema>;

/** An archive with an artifact of one file. @returns its path */
function artifact(dir: string): string {
  const blobs = join(dir, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  const blob = (mediaType: string, text: string): { mediaType: string; digest: string; size: number } => {
    const hex = createHash("sha256").update(text).digest("hex");
    writeFileSync(join(blobs, hex), text);
    return { mediaType, digest: `sha256:${hex}`, size: text.length };
  };
  const type = "application/vnd.oci.image.manifest.v1+json";
  const annotations = { "org.opencontainers.image.title": "sub/weights.bin" };
  const manifest = {
    schemaVersion: 2,
    mediaType: type,
    artifactType: "application/vnd.test.model",
    config: blob("application/vnd.oci.empty.v1+json", "{}"),
    layers: [{ ...blob("application/octet-stream", "forty-two\n"), annotations }],
  };
  const named = { "io.containerd.image.name": "gantry.test/model:v1" };
  const manifests = [{ ...blob(type, JSON.stringify(manifest)), annotations: named }];
  writeFileSync(join(dir, "index.json"), JSON.stringify({ schemaVersion: 2, manifests }));
  writeFileSync(join(dir, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const path = `${dir}.tar`;
  execFileSync("tar", ["-C", dir, "-cf", path, "oci-layout", "index.json", "blobs"]);
  return path;
}

describe("specs of real containers", { skip: cannotRun }, () => {
  let bed: CriBed;
  let pod: ReturnType<CriBed["pod"]>;
  let podSandboxId: string;
  let count = 0;

  before(async () => {
    bed = await CriBed.start({
      config: `
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
pod_annotations = ["io.vendor.*"]
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.based]
base_runtime_spec = "/nonexistent.json"
`,
    });
    for (const name of ["nonroot", "username"]) bed.ctr("images", "import", testImages().archive(name));
    pod = bed.pod("specs", { annotations: { "io.vendor.a": "1", other: "2" } });
    ({ podSandboxId } = await bed.runtime.runPodSandbox({ config: pod }));
  });
  after(async () => {
    await bed[Symbol.asyncDispose]();
  });

  /** Runs a command to its end. @returns what it wrote */
  async function output(script: string, more: ContainerInit = {}): Promise<string> {
    const name = `c${count++}`;
    const id = await bed.runContainer(podSandboxId, pod, bed.container(name, script, more));
    await until("it exits", async () => {
      const { status } = await bed.runtime.containerStatus({ containerId: id });
      return status?.state === ContainerState.CONTAINER_EXITED;
    });
    await bed.runtime.removeContainer({ containerId: id });
    const log = readFileSync(join(bed.dir, "logs/specs", `${name}.log`), "utf8");
    return log.replaceAll(/^\S+ std(?:out|err) [FP] /gm, "");
  }

  test("an image's user, folder, environment, entry point and volumes", async () => {
    const said = await output("", { image: { image: imageName("nonroot") }, command: [], args: [] });
    assert.match(said, /uid=1000\S* gid=1000/);
    assert.match(said, /hello world\n\/home\n/);
    const more = { image: { image: imageName("nonroot") } };
    const volumes = await output("grep -E ' /data | /var/cache/app ' /proc/self/mountinfo | wc -l", more);
    assert.equal(volumes, "2\n");
    // one of the request's own wins
    const host = join(bed.dir, "own-data");
    mkdirSync(host);
    writeFileSync(join(host, "mine"), "");
    const mounts = [{ hostPath: host, containerPath: "/data" }];
    assert.equal(await output("ls /data", { ...more, mounts }), "mine\n");
  });

  test("a user by name, with the image's groups and the request's", async () => {
    const image = { image: imageName("username") };
    const groups = await output("id -u; id -G", {
      image,
      linux: { securityContext: { supplementalGroups: [4242n] } },
    });
    assert.match(groups, /^1000\n1000 .*\b4242\b/);
    const root = await output("id -u", { image, linux: { securityContext: { runAsUser: { value: 0n } } } });
    assert.equal(root, "0\n");
  });

  test("limits reach the cgroup", async () => {
    const said = await output(
      "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || cat /sys/fs/cgroup/memory.max",
      { linux: { resources: { memoryLimitInBytes: 64n << 20n, cpuShares: 512n } } },
    );
    assert.match(said, /^67108864\n(512\n)?$/);
  });

  test("devices, with their access", async () => {
    const said = await output("(exec 3</dev/x/ctl) && echo opened; (exec 4>/dev/x/ctl) || echo refused", {
      devices: [{ hostPath: "/dev/loop-control", containerPath: "/dev/x/ctl", permissions: "r" }],
    });
    assert.match(said, /^opened\n.*refused\n/s);
  });

  test("annotations that the configuration lets through, and none else", async () => {
    const { containerId } = await bed.runtime.createContainer({
      podSandboxId,
      config: bed.container("annotated", "true"),
      sandboxConfig: pod,
    });
    const spec = bed.ctr("containers", "info", "--spec", containerId);
    assert.match(spec, /"io\.vendor\.a": *"1"/);
    assert.doesNotMatch(spec, /"other"/);
    await bed.runtime.removeContainer({ containerId });
  });

  test("an image as a mount: read-only, a sub path, once for the pod, gone with it", async () => {
    const config = bed.pod("images");
    const { podSandboxId: id } = await bed.runtime.runPodSandbox({ config });
    const mount = { containerPath: "/img", readonly: true, image: { image: imageName("nonroot") } };
    const folder = join(bed.dir, "state/io.containerd.grpc.v1.cri/image-volumes", id);
    const start = async (name: string, mounts: ContainerInit["mounts"]): Promise<string> => {
      const made = bed.container(name, "ls /img | head -3; touch /img/x; sleep 1000", {
        mounts,
      } as ContainerInit);
      return await bed.runContainer(id, config, made);
    };
    const first = await start("one", [mount]);
    const { status } = await bed.runtime.containerStatus({ containerId: first });
    const { image } = await bed.images.imageStatus({ image: { image: imageName("nonroot") } });
    assert.equal(status?.mounts[0]?.image?.imageRef, image?.id);
    await start("two", [{ ...mount, imageSubPath: "bin" }]);
    assert.equal(bed.run("sh", "-c", `grep -c ' ${folder}/' /proc/self/mountinfo`).trim(), "1");
    const log = (name: string): string => readFileSync(join(bed.dir, "logs/images", `${name}.log`), "utf8");
    await until("both wrote", () => /Read-only/.test(log("one")) && /Read-only/.test(log("two")));
    assert.match(log("one"), /stdout F bin\n/);
    assert.doesNotMatch(log("two"), /stdout F bin\n/);
    // held while it is mounted: removing the image takes only its names
    await bed.images.removeImage({ image: { image: imageName("nonroot") } });
    const { stdout } = await bed.runtime.execSync({ containerId: first, cmd: ["ls", "/img/bin/busybox"] });
    assert.equal(new TextDecoder().decode(stdout), "/img/bin/busybox\n");
    bed.ctr("images", "import", testImages().archive("nonroot"));
    const refused = async (change: object, text: RegExp): Promise<void> => {
      const bad = bed.container("bad", "true", { mounts: [{ ...mount, ...change }] } as ContainerInit);
      await assert.rejects(
        bed.runtime.createContainer({ podSandboxId: id, config: bad, sandboxConfig: config }),
        (err: unknown) => {
          assert.match(messageOf(err), /ImageVolumeMountFailed/);
          assert.match(messageOf(err), text);
          return true;
        },
      );
    };
    await refused({ readonly: false }, /readonly must be true/);
    await refused({ imageSubPath: "../../etc" }, /must stay inside the image/);
    await refused({ imageSubPath: "bin/busybox" }, /sub path "bin\/busybox"/);
    await refused({ imageSubPath: "nothing" }, /sub path "nothing"/);
    await refused({ image: { image: "gantry.test/nothing" } }, /not found/);
    await bed.runtime.stopPodSandbox({ podSandboxId: id });
    await bed.runtime.removePodSandbox({ podSandboxId: id });
    assert.ok(!existsSync(folder));
    assert.doesNotMatch(bed.ctr("snapshots", "ls"), /image-volumes/);
  });

  test("an artifact as a mount: its files by their titles", async () => {
    bed.ctr("images", "import", artifact(join(bed.dir, "artifact")));
    const config = bed.pod("artifacts");
    const { podSandboxId: id } = await bed.runtime.runPodSandbox({ config });
    const mounts = [{ containerPath: "/model", readonly: true, image: { image: "gantry.test/model:v1" } }];
    const container = bed.container("c", "cat /model/sub/weights.bin; touch /model/x; sleep 1000", {
      mounts,
    } as ContainerInit);
    await bed.runContainer(id, config, container);
    const log = (): string => readFileSync(join(bed.dir, "logs/artifacts/c.log"), "utf8");
    await until("it wrote", () => /Read-only/.test(log()));
    assert.match(log(), /stdout F forty-two/);
    await bed.runtime.stopPodSandbox({ podSandboxId: id });
    await bed.runtime.removePodSandbox({ podSandboxId: id });
    assert.ok(!existsSync(join(bed.dir, "state/io.containerd.grpc.v1.cri/image-volumes", id)));
    await bed.images.removeImage({ image: { image: "gantry.test/model:v1" } });
  });

  test("sources of bind mounts are made, links followed", async () => {
    const made = join(bed.dir, "not/there/yet");
    const said = await output("ls -d /m && touch /m/x && cat /link/file", {
      mounts: [
        { hostPath: made, containerPath: "/m" },
        { hostPath: `${bed.dir}/link`, containerPath: "/link", readonly: true },
      ],
    }).catch((err: unknown) => messageOf(err));
    // nothing was at the second one either: a folder is made
    assert.match(said, /^\/m\n.*No such file/s);
    assert.ok(statSync(join(made, "x")).isFile());
    assert.ok(statSync(`${bed.dir}/link`).isDirectory());
  });

  test("a base spec that cannot be read is named; the pod is not left half made", async () => {
    const config = bed.pod("based");
    const made = bed.runtime.runPodSandbox({ config, runtimeHandler: "based" });
    await assert.rejects(
      made.then(async ({ podSandboxId: id }) => {
        const container = bed.container("c", "true", { image: { image: BUSYBOX } });
        await bed.runtime.createContainer({ podSandboxId: id, config: container, sandboxConfig: config });
      }),
      /read base_runtime_spec "\/nonexistent.json"/,
    );
  });
});
