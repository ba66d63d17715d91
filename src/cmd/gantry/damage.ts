/** Something damaged. */
export interface Damage {
  readonly kind: "blob" | "snapshot";
  readonly namespace: string;
  /** Digest, or `snapshotter/name`. */
  readonly object: string;
  readonly problem: string;
}
