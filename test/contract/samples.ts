/** Records for tests. */
import type { ContainerInput } from "../../src/core/containers/containers.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import type { ImageInput } from "../../src/core/images/images.ts";
import { labelsOf } from "./harness.ts";

/** A container record. */
export function container(id: string, change: Partial<ContainerInput> = {}): ContainerInput {
  return {
    id,
    labels: new Map(),
    image: "",
    runtime: { name: "io.containerd.runc.v2", options: undefined },
    spec: { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: Buffer.from("{}") },
    snapshotter: "",
    snapshotKey: "",
    extensions: new Map(),
    sandbox: "",
    ...change,
  };
}

/** An image record. */
export function image(name: string, digest: Digest, labels: Record<string, string> = {}): ImageInput {
  return {
    name,
    labels: labelsOf(labels),
    target: { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: 10n },
  };
}
