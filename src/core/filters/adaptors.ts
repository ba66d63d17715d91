/** Which fields of stored objects filters can ask for. */
import type { Labels } from "../any.ts";
import type { Container } from "../containers/containers.ts";
import type { ContentInfo, IngestStatus } from "../content/content.ts";
import type { Image } from "../images/images.ts";
import type { Lease } from "../leases/leases.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import type { SnapshotInfo } from "../snapshots/snapshotter.ts";
import { type Adaptor, absent, type FieldValue } from "./filter.ts";

const text = (value: string): FieldValue => ({ value, present: value.length > 0 });
const set = (value: string): FieldValue => ({ value, present: true });

/** A map field: everything after the field's name is the key, dots included. */
export function mapField(map: ReadonlyMap<string, string> | undefined, path: readonly string[]): FieldValue {
  const value = map?.get(path.length === 1 ? (path[0] ?? "") : path.join("."));
  return value === undefined ? absent : { value, present: true };
}

/** name, target.digest, target.mediatype, labels.*, annotations.* */
export function adaptImage(image: Image): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "name":
        return text(image.name);
      case "target":
        if (rest[0] === "digest") return text(image.target.digest);
        if (rest[0] === "mediatype") return text(image.target.mediaType);
        return absent;
      case "labels":
        return mapField(image.labels, rest);
      case "annotations":
        return mapField(image.target.annotations, rest);
      default:
        return absent;
    }
  };
}

/** id, runtime.name, image, labels.* */
export function adaptContainer(container: Container): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "id":
        return text(container.id);
      case "runtime":
        return rest[0] === "name" ? text(container.runtime.name) : absent;
      case "image":
        return text(container.image);
      case "labels":
        return mapField(container.labels, rest);
      default:
        return absent;
    }
  };
}

/** id, runtime.name, sandboxer, labels.* */
export function adaptSandbox(sandbox: Sandbox): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "id":
        return text(sandbox.id);
      case "runtime":
        return rest[0] === "name" ? text(sandbox.runtime.name) : absent;
      case "sandboxer":
        return text(sandbox.sandboxer);
      case "labels":
        return mapField(sandbox.labels, rest);
      default:
        return absent;
    }
  };
}

/** digest, size, labels.* */
export function adaptContent(info: ContentInfo): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "digest":
        return set(info.digest);
      case "size":
        return set(String(info.size));
      case "labels":
        return mapField(info.labels, rest);
      default:
        return absent;
    }
  };
}

/** ref */
export function adaptIngest(status: IngestStatus): Adaptor {
  return ([field]) => (field === "ref" ? set(status.ref) : absent);
}

/** id, labels.* */
export function adaptLease(lease: Lease): Adaptor {
  return adaptIdAndLabels(lease);
}

/** kind, name, parent, labels.* */
export function adaptSnapshot(info: SnapshotInfo): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "kind":
        return set(info.kind);
      case "name":
        return set(info.name);
      case "parent":
        return set(info.parent);
      case "labels":
        return mapField(info.labels, rest);
      default:
        return absent;
    }
  };
}

/** A sandbox, and anything else with id and labels.*. */
export function adaptIdAndLabels(object: { readonly id: string; readonly labels: Labels }): Adaptor {
  return ([field, ...rest]) => {
    if (field === "id") return text(object.id);
    return field === "labels" ? mapField(object.labels, rest) : absent;
  };
}

/** namespace, topic, event.* (`event` answers for the fields of the payload). */
export function adaptEnvelope(
  envelope: { readonly namespace: string; readonly topic: string },
  event: Adaptor,
): Adaptor {
  return ([field, ...rest]) => {
    switch (field) {
      case "namespace":
        return text(envelope.namespace);
      case "topic":
        return text(envelope.topic);
      case "event":
        return event(rest);
      default:
        return absent;
    }
  };
}
