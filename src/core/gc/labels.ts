/**
 * What labels mean to the garbage collector:
 *
 *   containerd.io/gc.root*                         the object is a root
 *   containerd.io/gc.expire = RFC 3339             images and leases: collectable afterwards; others: a root until then
 *   containerd.io/gc.flat                          lease: hold objects without what they refer to
 *   containerd.io/gc.ref.content[.x|/x] = digest   the object keeps that blob
 *   containerd.io/gc.ref.image[.x|/x] = name       ... that image
 *   containerd.io/gc.ref.snapshot.NAME[/x] = key   ... that snapshot of the snapshotter NAME
 *   containerd.io/gc.bref.{container,content,image}[.x|/x], gc.bref.snapshot.NAME[/x]   the named object keeps this one
 *   containerd.io/gc.cond.snapshot.NAME[/x] = usedat<24h|key   keeps the snapshot while its gc.cond.value-usedat allows
 */
import { parseRfc3339 } from "../../lib/time.ts";
import type { Labels, TimeNs } from "../any.ts";
import { type NodeId, nodeId } from "./nodes.ts";

const PREFIX = "containerd.io/gc.";
/** Label that ends an object's life. */
export const EXPIRE = "containerd.io/gc.expire";
/** Label of leases that hold without following references. */
export const FLAT = "containerd.io/gc.flat";
const ROOT = "containerd.io/gc.root";
const USED_AT = "containerd.io/gc.cond.value-usedat";
const CONDITION = "containerd.io/gc.cond.snapshot";

/** A reference that holds while the target's "used at" label meets a comparison. */
export interface Condition {
  readonly target: NodeId;
  readonly operator: "<" | ">";
  /** Nanoseconds since the target was used. */
  readonly age: bigint;
}

/** What an object's labels say. */
export interface LabelRefs {
  readonly root: boolean;
  /** Objects this one keeps. */
  readonly refs: readonly NodeId[];
  /** Objects that keep this one. */
  readonly backRefs: readonly NodeId[];
  readonly conditions: readonly Condition[];
  /** When the object was last used, for conditions of others. */
  readonly usedAt: TimeNs | undefined;
}

const NOTHING: LabelRefs = { root: false, refs: [], backRefs: [], conditions: [], usedAt: undefined };

/** Reads the labels of an object in `namespace`. */
export function labelRefs(namespace: string, labels: Labels): LabelRefs {
  let found = false;
  let root = false;
  let usedAt: TimeNs | undefined;
  const refs: NodeId[] = [];
  const backRefs: NodeId[] = [];
  const conditions: Condition[] = [];
  for (const [key, value] of labels) {
    if (!key.startsWith(PREFIX)) continue;
    found = true;
    if (key.startsWith(ROOT)) root = true;
    else if (key === USED_AT) usedAt = time(value);
    else if (key.startsWith(CONDITION)) conditions.push(...parseConditions(namespace, key, value));
    else {
      const ref = target(namespace, key, "containerd.io/gc.ref.", value);
      if (ref !== undefined) refs.push(ref);
      const backRef = target(namespace, key, "containerd.io/gc.bref.", value);
      if (backRef !== undefined) backRefs.push(backRef);
    }
  }
  return found ? { root, refs, backRefs, conditions, usedAt } : NOTHING;
}

/** The expiry label as a time; undefined when absent or unreadable (containerd ignores those). */
export function expiryOf(labels: Labels): TimeNs | undefined {
  const value = labels.get(EXPIRE);
  return value === undefined ? undefined : time(value);
}

/** True when a condition holds for a target used at `usedAt`. */
export function conditionHolds(condition: Condition, usedAt: TimeNs, now: TimeNs): boolean {
  const age = now - usedAt;
  return condition.operator === "<" ? age < condition.age : age > condition.age;
}

function target(namespace: string, key: string, prefix: string, value: string): NodeId | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const rest = key.slice(prefix.length);
  if (rest.startsWith("snapshot.")) {
    const snapshotter = rest.slice("snapshot.".length).split("/", 1)[0] ?? "";
    return nodeId("snapshot", namespace, `${snapshotter}/${value}`);
  }
  for (const kind of ["content", "image", "container"] as const) {
    if (!rest.startsWith(kind)) continue;
    if (kind === "container" && prefix.endsWith(".ref.")) continue;
    const after = rest[kind.length];
    if (after === undefined || after === "." || after === "/") return nodeId(kind, namespace, value);
  }
  return undefined;
}

function parseConditions(namespace: string, key: string, value: string): Condition[] {
  const bar = value.indexOf("|");
  if (bar < 0) return [];
  const snapshotter =
    key
      .slice(CONDITION.length)
      .replace(/^[./]+/, "")
      .split("/", 1)[0] ?? "";
  const node = nodeId("snapshot", namespace, `${snapshotter}/${value.slice(bar + 1)}`);
  const out: Condition[] = [];
  for (const part of value.slice(0, bar).split(",")) {
    const match = /^usedat([<>])([^=].*)$/.exec(part);
    const age = parseDuration(match?.[2] ?? "");
    if (match !== null && age !== undefined) out.push({ target: node, operator: match[1] as "<" | ">", age });
  }
  return out;
}

const UNIT: ReadonlyMap<string, number> = new Map([
  ["ns", 1],
  ["us", 1e3],
  ["µs", 1e3],
  ["ms", 1e6],
  ["s", 1e9],
  ["m", 60e9],
  ["h", 3600e9],
]);

/** Nanoseconds of a Go duration such as `1h30m` or `250ms`; undefined when it is none. */
export function parseDuration(text: string): bigint | undefined {
  const sign = text.startsWith("-") ? -1 : 1;
  const body = text.replace(/^[+-]/, "");
  if (body === "0") return 0n;
  if (!/^(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+$/.test(body)) return undefined;
  let total = 0;
  for (const [, number, unit] of body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/g))
    total += Number(number) * (UNIT.get(unit ?? "") ?? 0);
  return BigInt(Math.round(total)) * BigInt(sign);
}

function time(value: string): TimeNs | undefined {
  try {
    return parseRfc3339(value);
  } catch {
    return undefined;
  }
}
