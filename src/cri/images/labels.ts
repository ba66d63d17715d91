/** Labels of image records that CRI keeps. */
import type { Labels } from "../../core/any.ts";

/** Says that CRI knows the record, and that a record named by the image's id is there. */
export const MANAGED = { key: "io.cri-containerd.image", value: "managed" } as const;
/** Keeps the kubelet's garbage collection away. */
export const PINNED = { key: "io.cri-containerd.pinned", value: "pinned" } as const;

/** Labels of the records of an image. */
export function imageLabels(pinned: boolean): Labels {
  return new Map([[MANAGED.key, MANAGED.value], ...(pinned ? [[PINNED.key, PINNED.value] as const] : [])]);
}
