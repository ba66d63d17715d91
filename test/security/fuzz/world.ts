/** What a fuzzed daemon holds, and the values that get calls past their first check. */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DescMessage } from "@bufbuild/protobuf";
import { testImages } from "../../fixtures/images.ts";
import { until } from "../../integration/client.ts";
import { BUSYBOX, type CriBed } from "../../integration/cri-bed.ts";
import { ourBin } from "../../integration/program.ts";
import { cgroupsOf, strays } from "../../integration/traces.ts";
import type { Pool } from "./messages.ts";

/** Methods whose answer is the end of something: they get little time. */
export const WAITS =
  /^(Events\.Subscribe|RuntimeService\.(GetContainerEvents|StopContainer|ExecSync)|Streaming\.Stream|Health\.Watch|Tasks\.Wait|Controller\.Wait)$/;
/** Methods that take away what other calls need. */
export const ENDS = /Remove|Delete|Stop|Kill|Shutdown/;

/** A fuzzed daemon. */
export interface World {
  /** The namespace of what was made with `ctr`. */
  readonly namespace: string;
  /** What calls of a method are filled from. */
  pool(method: string): Pool;
}

/** Fills a daemon: an image, a running container and one that was never started, a pod with a container. */
export async function makeWorld(bed: CriBed, types: readonly DescMessage[]): Promise<World> {
  const namespace = `fuzz-${bed.tag}`;
  const ctr = (...args: string[]): string[] => {
    const done = spawnSync(join(ourBin(), "ctr"), ["-a", bed.address, "-n", namespace, ...args], {
      encoding: "utf8",
      timeout: 30_000,
    });
    if (done.status !== 0) throw new Error(`ctr ${args.join(" ")}: ${done.stderr}`);
    return done.stdout.trim().split("\n");
  };
  ctr("images", "import", testImages().archive("busybox"));
  ctr("run", "-d", BUSYBOX, "live", "sleep", "100000");
  ctr("containers", "create", BUSYBOX, "made", "true");
  const digests = ctr("content", "ls", "-q");
  const snapshots = ctr("snapshots", "ls")
    .slice(1)
    .map((line) => line.split(/\s+/)[0] ?? "");
  const spec = JSON.parse(ctr("containers", "info", "made").join("\n")).Spec as Record<string, unknown>;
  const pod = bed.pod("fuzz");
  const { podSandboxId } = await bed.runtime.runPodSandbox({ config: pod });
  const container = await bed.runContainer(podSandboxId, pod, bed.container("c", "sleep 100000"));

  const { dir } = bed;
  const base: Pool = {
    types,
    known: [
      namespace,
      "k8s.io",
      "live",
      "made",
      BUSYBOX,
      ...digests,
      ...snapshots,
      podSandboxId,
      container,
      "io.containerd.runc.v2",
      "overlayfs",
      "a",
      "b",
      "c",
    ],
    documents: [
      "{}",
      "[]",
      "null",
      "1",
      '"x"',
      "{",
      "[".repeat(2000),
      '{"__proto__":{"x":1}}',
      ...brokenSpecs(spec),
    ],
    fields: {
      snapshotter: ["overlayfs", "overlayfs", "native", "blockfile", "nothere"],
      digest: digests,
      expected: digests,
      container_id: ["live", "made", "n1", container, container],
      pod_sandbox_id: [podSandboxId, podSandboxId.slice(0, 8)],
      id: ["live", "made", "l1", "l2"],
      exec_id: ["", "e1", "e2"],
      sandbox_id: ["s1", "s2", podSandboxId],
      name: [BUSYBOX, ...snapshots.slice(0, 2), "n1", "n2"],
      parent: ["", ...snapshots.slice(0, 2)],
      key: [...snapshots.slice(0, 2), "k1", "k2"],
      ref: ["r1", "r2"],
      image: [BUSYBOX],
      type: [
        "bind",
        "overlay",
        "tmpfs",
        "loop",
        "format/mkdir/overlay",
        "erofs",
        "content",
        "snapshots/overlayfs",
      ],
      source: [`${dir}/a`, "overlay", "tmpfs", "{{ mount 0 }}", "{{"],
      target: ["", "a/b", "../c"],
      options: [
        "ro",
        "rbind",
        `X-containerd.mkdir.path=${dir}/x`,
        `lowerdir=${dir}/l`,
        "lowerdir={{ overlay 0 9 }}",
      ],
      paths: ["labels", "labels.a", "spec", "target", "extensions.x", "image", "nope", "labels."],
      sandboxer: ["", "shim", "podsandbox"],
      filters: ["", "id==live", "labels.a==b", "name~=x", "(", 'labels."a.b"==c,id!=d', "a~=["],
      media_type: [
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.manifest.v1+json",
        "x",
        "",
      ],
      type_url: [
        "types.containerd.io/opencontainers/runtime-spec/1/Spec",
        "types.containerd.io/opencontainers/runtime-spec/1/Process",
      ],
      // of the machine only what lies in the folder of the test
      host_path: [`${dir}/logs`, "/nowhere/x", "", ".."],
      log_directory: [`${dir}/logs/f`, "", ".."],
      log_path: ["a.log", "../b.log", "/nowhere/c.log", ""],
      location: [`${dir}/checkpoint`, "", "x"],
      image_path: [`${dir}/checkpoint`],
      cgroup_parent: [`/gantry-cri-${bed.tag}`, `/gantry-cri-${bed.tag}/../x`],
      stdin: ["", `${dir}/f`, "binary:///nowhere/x"],
      stdout: ["", `${dir}/f`, "binary:///nowhere/x", "file:///nowhere/y"],
      stderr: ["", `${dir}/f`],
      netns_path: ["", `${dir}/a`],
      command: ["true", "sleep"],
      args: ["1"],
      runtime_path: ["", "io.containerd.runc.v2", "/nowhere/runc"],
      runtime_handler: ["", "runc", "none"],
      address: ["", "unix:///nowhere.sock"],
      uid: ["u1", "u2"],
      namespace: ["test"],
    },
  };
  const more: readonly (readonly [RegExp, Readonly<Record<string, readonly string[]>>])[] = [
    [/^RuntimeService/, { container_id: [container], name: ["p1", "p2", "c1"] }],
    [
      /^Snapshots/,
      { name: [...snapshots.slice(0, 2), "n1", "n2"], key: [...snapshots.slice(0, 2), "n1", "n2"] },
    ],
    [
      /^Containers/,
      {
        id: ["live", "made", "n1"],
        name: ["io.containerd.runc.v2"],
        snapshotter: ["overlayfs"],
        snapshot_key: ["made", "live", "n1"],
      },
    ],
    [/^Tasks/, { container_id: ["live", "made", "n1"] }],
    [/^Leases/, { id: ["l1", "l2", ...digests] }],
    [/^(Controller|Store)/, { sandboxer: ["", "shim"], name: ["", "io.containerd.runc.v2"] }],
    [/^Mounts/, { name: ["m1", "m2"] }],
    [/^Images/, { name: [BUSYBOX, "n1"] }],
  ];
  return {
    namespace,
    pool: (method) => ({
      ...base,
      fields: { ...base.fields, ...more.find(([which]) => which.test(method))?.[1] },
    }),
  };
}

/** Ends the containers and shims that the daemon of a bed left, which it must, and their cgroups. */
export async function endLeftovers(bed: CriBed): Promise<void> {
  const marks = { dir: bed.dir, tag: bed.tag, address: bed.address, pid: -1 };
  for (const path of cgroupsOf(marks)) {
    const freezer = join(path, "freezer.state");
    if (existsSync(freezer)) writeFileSync(freezer, "THAWED");
  }
  for (const pid of strays(marks)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it ended by itself
    }
  }
  await until("the end of what was killed", () => strays(marks).length === 0);
  for (const path of cgroupsOf(marks).reverse()) spawnSync("rmdir", [path]);
}

/** The spec of a container with one wrong thing each. */
function brokenSpecs(spec: Record<string, unknown>): string[] {
  const out = [JSON.stringify(spec)];
  for (const wrong of [null, 1, "x", [], {}, [null]]) {
    for (const key of ["process", "root", "linux", "mounts", "hooks", "annotations"])
      out.push(JSON.stringify({ ...spec, [key]: wrong }));
    for (const key of ["args", "user", "env", "capabilities", "rlimits"])
      out.push(JSON.stringify({ ...spec, process: { ...(spec["process"] as object), [key]: wrong } }));
    for (const key of ["resources", "namespaces", "seccomp", "devices", "uidMappings"])
      out.push(JSON.stringify({ ...spec, linux: { ...(spec["linux"] as object), [key]: wrong } }));
  }
  return out;
}
