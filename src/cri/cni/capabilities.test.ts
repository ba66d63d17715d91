import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { PodSandboxConfigSchema, Protocol } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { podCapabilities, quantity } from "./capabilities.ts";
import { podAddresses } from "./pod-network.ts";

test("port mappings need a host port; dns, cgroup and annotations go along", () => {
  const config = create(PodSandboxConfigSchema, {
    portMappings: [
      { protocol: Protocol.UDP, containerPort: 53, hostPort: 5353, hostIp: "127.0.0.1" },
      { protocol: Protocol.TCP, containerPort: 80 },
    ],
    dnsConfig: { servers: ["10.0.0.10"], searches: ["svc"], options: ["ndots:5"] },
    annotations: { a: "b", "kubernetes.io/ingress-bandwidth": "1M", "kubernetes.io/egress-bandwidth": "2Mi" },
    linux: { cgroupParent: "/kubepods" },
  });
  assert.deepEqual(podCapabilities(config), {
    portMappings: [{ hostPort: 5353, containerPort: 53, protocol: "udp", hostIP: "127.0.0.1" }],
    bandwidth: {
      ingressRate: 1_000_000,
      ingressBurst: 2147483647,
      egressRate: 2097152,
      egressBurst: 2147483647,
    },
    dns: { servers: ["10.0.0.10"], searches: ["svc"], options: ["ndots:5"] },
    cgroupPath: "/kubepods",
    "io.kubernetes.cri.pod-annotations": config.annotations,
  });
  assert.deepEqual(podCapabilities(create(PodSandboxConfigSchema)), {});
});

test("bandwidth outside of Kubernetes' limits is refused", () => {
  for (const text of ["1", "2P", "-1M", "fast", ""]) {
    const config = create(PodSandboxConfigSchema, {
      annotations: { "kubernetes.io/ingress-bandwidth": text },
    });
    assert.throws(() => podCapabilities(config), /want a rate from 1k to 1P/, text);
  }
});

test("quantities", () => {
  assert.equal(quantity("1.5M"), 1_500_000n);
  assert.equal(quantity("1.0001"), 2n);
  assert.equal(quantity("10Ki"), 10240n);
  assert.equal(quantity("1e3"), undefined);
});

test("addresses of a pod: those of its first interface, the preferred family first", () => {
  const result = {
    interfaces: [
      { name: "br0" },
      { name: "veth1" },
      { name: "eth0", sandbox: "/x" },
      { name: "other", sandbox: "/x" },
    ],
    ips: [
      { interface: 2, address: "fd00::2/64" },
      { interface: 2, address: "10.0.0.2/24" },
      { interface: 3, address: "10.9.9.9/24" },
    ],
  };
  assert.deepEqual(podAddresses(result, ""), ["10.0.0.2", "fd00::2"]);
  assert.deepEqual(podAddresses(result, "ipv6"), ["fd00::2", "10.0.0.2"]);
  assert.deepEqual(podAddresses(result, "cni"), ["fd00::2", "10.0.0.2"]);
  assert.deepEqual(podAddresses({ ips: [{ address: "10.0.0.2/24" }] }, ""), ["10.0.0.2"]);
  assert.deepEqual(podAddresses({}, ""), []);
});
