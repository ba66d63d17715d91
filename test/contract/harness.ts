/** What contract suites run on: the core stores, however they are reached. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Labels } from "../../src/core/any.ts";
import { Call, type NamespacedCall } from "../../src/core/call.ts";
import type { ContainerStore } from "../../src/core/containers/containers.ts";
import type { ContentStore } from "../../src/core/content/content.ts";
import { codeOf, type ErrorCode } from "../../src/core/errors.ts";
import type { Digest } from "../../src/core/ids/digest.ts";
import { parseNamespace } from "../../src/core/ids/namespace.ts";
import type { ImageStore } from "../../src/core/images/images.ts";
import type { LeaseManager } from "../../src/core/leases/leases.ts";
import type { NamespaceStore } from "../../src/core/namespaces/namespaces.ts";
import type { SandboxStore } from "../../src/core/sandbox/sandbox.ts";
import type { Snapshotter } from "../../src/core/snapshots/snapshotter.ts";

/** The stores of one engine, empty at first. */
export interface Stores {
  readonly namespaces: NamespaceStore;
  readonly containers: ContainerStore;
  readonly sandboxes: SandboxStore;
  readonly images: ImageStore;
  readonly leases: LeaseManager;
  readonly content: ContentStore;
  snapshotter(name: string): Snapshotter;
  /** Runs a garbage collection and waits. */
  collect(): Promise<void>;
  close(): Promise<void>;
}

/** How to make the stores. */
export interface MakeOptions {
  readonly policy?: "shared" | "isolated";
}

/** Makes stores for one test. */
export type MakeStores = (options?: MakeOptions) => Promise<Stores>;

/** A call in a namespace. */
export function inNs(namespace: string, lease?: string): NamespacedCall {
  return new Call({ lease }).in(parseNamespace(namespace));
}

/** The namespace most tests use. */
export const ns: NamespacedCall = inNs("testing");

/** Runs `body` on fresh stores. */
export async function withStores(
  make: MakeStores,
  body: (stores: Stores) => Promise<void>,
  options?: MakeOptions,
): Promise<void> {
  const stores = await make(options);
  try {
    await body(stores);
  } finally {
    await stores.close();
  }
}

/** A folder that is removed afterwards. */
export async function tempFolder(): Promise<{ path: string; remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "gantry-contract-"));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** Random bytes with their digest. */
export function randomBlob(size: number): { data: Uint8Array; digest: Digest } {
  const data = randomBytes(size);
  return { data, digest: digestOf(data) };
}

/** sha256 of bytes. */
export function digestOf(data: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(data).digest("hex")}` as Digest;
}

/** Writes a whole blob. */
export async function writeBlob(
  content: ContentStore,
  call: NamespacedCall,
  data: Uint8Array,
  labels?: Labels,
): Promise<Digest> {
  const digest = digestOf(data);
  const ref = `write-${digest}-${randomBytes(4).toString("hex")}`;
  await using writer = await content.writer(call, { ref, expected: digest });
  // under the shared policy the bytes may be there already
  await writer.write(data.subarray(Number(writer.status().offset)));
  await writer.commit(BigInt(data.length), digest, labels);
  return digest;
}

/** All bytes of a blob. */
export async function readBlob(content: ContentStore, call: NamespacedCall, digest: Digest): Promise<Buffer> {
  await using reader = await content.reader(call, digest);
  const parts: Uint8Array[] = [];
  for await (const part of reader.stream()) parts.push(part);
  return Buffer.concat(parts);
}

/** For assert.rejects: an error of this class, with a text when given. */
export function ofClass(code: ErrorCode, text?: RegExp): (err: unknown) => boolean {
  return (err) => {
    const fits =
      codeOf(err) === code && (text === undefined || (err instanceof Error && text.test(err.message)));
    if (!fits) throw err;
    return true;
  };
}

/** Collects an async iteration. */
export async function list<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}

/** Labels from a record. */
export function labelsOf(record: Record<string, string>): Labels {
  return new Map(Object.entries(record));
}
