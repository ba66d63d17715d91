import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { NamespaceMode, Protocol } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { loadContainerConfig, loadPodConfig } from "./configs.ts";

const dir = mkdtempSync(join(tmpdir(), "gantry-crictl-"));
after(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
function file(content: unknown): string {
  const path = join(dir, `${files++}`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

test("a pod as YAML: names of CRI, texts that look like numbers, enums by name or number", async () => {
  const pod = await loadPodConfig(
    file(`# comment
metadata: {name: web, namespace: default}
log_directory: /var/log/pods
labels: {n: 1, on: true, empty: }
port_mappings:
- {container_port: 80, host_port: 8080, protocol: 1}
- {containerPort: 81, protocol: tcp}
linux:
  security_context:
    namespace_options: {network: NODE, pid: 1}
    run_as_user: {value: 1000}
    supplemental_groups: [5, 6]
`),
  );
  assert.equal(pod.metadata?.name, "web");
  assert.match(pod.metadata?.uid ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(pod.logDirectory, "/var/log/pods");
  assert.deepEqual(pod.labels, { n: "1", on: "true", empty: "" });
  assert.deepEqual(
    pod.portMappings.map((p) => [p.containerPort, p.hostPort, p.protocol]),
    [
      [80, 8080, Protocol.UDP],
      [81, 0, Protocol.TCP],
    ],
  );
  const context = pod.linux?.securityContext;
  assert.equal(context?.namespaceOptions?.network, NamespaceMode.NODE);
  assert.equal(context?.namespaceOptions?.pid, NamespaceMode.CONTAINER);
  assert.equal(context?.runAsUser?.value, 1000n);
  assert.deepEqual(context?.supplementalGroups, [5n, 6n]);
});

test("a container as JSON: values of the environment are text", async () => {
  const config = await loadContainerConfig(
    file({
      metadata: { name: "c" },
      image: { image: "busybox" },
      envs: [
        { key: "A", value: "é=1" },
        { key: "B", value: 2 },
      ],
      CDI_devices: [{ name: "vendor/x=1" }],
      stop_signal: "sigusr1",
      windows: null,
    }),
  );
  assert.deepEqual(
    config.envs.map((e) => [e.key, Buffer.from(e.value).toString()]),
    [
      ["A", "é=1"],
      ["B", "2"],
    ],
  );
  assert.equal(config.CDIDevices[0]?.name, "vendor/x=1");
  assert.equal(config.stopSignal, 29);
});

const WRONG: readonly (readonly [unknown, RegExp])[] = [
  [{}, /metadata is not set/],
  [{ metadata: { namespace: "x" } }, /no name or no namespace/],
  ["metadata: [", /load config/],
  ["- a list", /want a map, not a list/],
  [{ metadata: { name: "a", namespace: "b" }, port_mappings: {} }, /"port_mappings": want a list, not a map/],
  [
    { metadata: { name: "a", namespace: "b" }, port_mappings: [{ protocol: "icmp" }] },
    /"icmp" is not one of 0 \(TCP\), 1 \(UDP\)/,
  ],
  [
    { metadata: { name: "a", namespace: "b" }, dns_config: { servers: "1.1.1.1" } },
    /"dns_config\.servers": want a list/,
  ],
  [{ metadata: { name: "a", namespace: "b", attempt: "x" } }, /load config/],
];

test("mistakes name the file and the field", async () => {
  for (const [content, want] of WRONG)
    await assert.rejects(loadPodConfig(file(content)), want, JSON.stringify(content));
  await assert.rejects(loadPodConfig(join(dir, "none")), /config at .*none/);
  await assert.rejects(loadContainerConfig(file({ metadata: { name: "x" } })), /image is not set/);
});
