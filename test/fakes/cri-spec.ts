/** Requests, pods and machines for tests of CRI specs. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../src/api/gen/cri/runtime/v1/api_pb.ts";
import {
  type ContainerSpecInput,
  defaultHandlerSettings,
  defaultSpecSettings,
  type HandlerSettings,
  type HostFacts,
  type SandboxSpecInput,
  type SpecImage,
  type SpecSettings,
} from "../../src/cri/spec/input.ts";

/** A plain machine with cgroup v1 and without LSMs. */
export const plainHost: HostFacts = {
  cgroupV2: false,
  swapController: true,
  hugetlbController: true,
  seccomp: true,
  apparmor: false,
  selinux: false,
  inUserNamespace: false,
  capabilities: ["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_NET_ADMIN"],
  oomScoreAdj: 0,
  canLowerOomScore: true,
  hostname: "node",
};

export const plainImage: SpecImage = {
  user: "",
  env: ["PATH=/bin", "FROM=image"],
  entrypoint: ["/entry"],
  cmd: ["default"],
  workingDir: "",
  stopSignal: "",
  volumes: [],
};

/** What a case changes. */
export interface SpecCase {
  readonly container?: MessageInitShape<typeof ContainerConfigSchema>;
  readonly pod?: MessageInitShape<typeof PodSandboxConfigSchema>;
  readonly image?: Partial<SpecImage>;
  readonly settings?: Partial<SpecSettings>;
  readonly handler?: Partial<HandlerSettings>;
  readonly host?: Partial<HostFacts>;
}

const plainPod: MessageInitShape<typeof PodSandboxConfigSchema> = {
  metadata: { name: "pod", namespace: "ns", uid: "uid-1" },
  hostname: "host-of-pod",
};
const plainContainer: MessageInitShape<typeof ContainerConfigSchema> = { metadata: { name: "app" } };

function merged<S extends DescMessage>(
  base: MessageInitShape<S>,
  change: MessageInitShape<S> | undefined,
): MessageInitShape<S> {
  return { ...base, ...change } as MessageInitShape<S>;
}

/** Input of buildContainerSpec: no root file system, nothing below `/nonexistent`. */
export function containerInput(c: SpecCase, over: Partial<ContainerSpecInput> = {}): ContainerSpecInput {
  return {
    namespace: "k8s.io",
    id: "c1",
    config: create(ContainerConfigSchema, merged<typeof ContainerConfigSchema>(plainContainer, c.container)),
    pod: {
      id: "p1",
      config: create(PodSandboxConfigSchema, merged<typeof PodSandboxConfigSchema>(plainPod, c.pod)),
      pid: 42,
      stateDir: "/nonexistent/p1",
      processLabel: "",
      mountLabel: "",
    },
    image: { ...plainImage, ...c.image },
    imageName: "registry.test/app:1",
    rootfs: [],
    rootDir: "/nonexistent/c1",
    settings: { ...defaultSpecSettings, ...c.settings },
    handler: { ...defaultHandlerSettings, ...c.handler },
    host: { ...plainHost, ...c.host },
    ...over,
  };
}

/** Input of buildSandboxSpec. */
export function sandboxInput(c: SpecCase, over: Partial<SandboxSpecInput> = {}): SandboxSpecInput {
  return {
    namespace: "k8s.io",
    id: "p1",
    config: create(PodSandboxConfigSchema, merged<typeof PodSandboxConfigSchema>(plainPod, c.pod)),
    image: { ...plainImage, entrypoint: ["/pause"], cmd: [], ...c.image },
    imageName: "registry.test/pause:1",
    netnsPath: "/run/netns/p1",
    stateDir: "/nonexistent/p1",
    labels: { processLabel: "", mountLabel: "" },
    settings: { ...defaultSpecSettings, ...c.settings },
    handler: { ...defaultHandlerSettings, ...c.handler },
    host: { ...plainHost, ...c.host },
    ...over,
  };
}
