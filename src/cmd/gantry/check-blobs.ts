/** Compares blobs with their digests. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { join } from "node:path";
import { contentClient } from "../../client/content.ts";
import type { Call } from "../../core/call.ts";
import type { ContentInfo } from "../../core/content/content.ts";
import { messageOf } from "../../core/errors.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import type { Transport } from "../../rpc/types.ts";
import type { NamespaceInventory } from "./inventory.ts";

/** Blobs read at once: hashing keeps one core busy while another waits for the disk. */
const AT_ONCE = 2;
/** Bytes of one read. */
const CHUNK = 1 << 20;

/**
 * Reads every blob once, whatever number of namespaces has it.
 * @param root folder of the content store when this process may read it
 * @returns what is wrong, by digest
 */
export async function checkBlobs(
  transport: Transport,
  call: Call,
  namespaces: readonly NamespaceInventory[],
  root: string | undefined,
): Promise<ReadonlyMap<string, string>> {
  const local = localStore(root);
  const content = contentClient(transport);
  const turns = new Semaphore(AT_ONCE);
  const damaged = new Map<string, string>();
  const seen = new Set<string>();
  await Promise.all(
    namespaces.flatMap((namespace) =>
      namespace.blobs.map(async (blob) => {
        if (seen.has(blob.digest)) return;
        seen.add(blob.digest);
        using _turn = await turns.acquire(call.signal);
        call.check();
        const problem = await checkBlob(blob, () =>
          local === undefined
            ? remoteBytes(content.reader(namespace.call, blob.digest))
            : fileBytes(local, blob.digest),
        );
        if (problem !== undefined) damaged.set(blob.digest, problem);
      }),
    ),
  );
  return damaged;
}

async function checkBlob(
  blob: ContentInfo,
  open: () => AsyncIterable<Uint8Array>,
): Promise<string | undefined> {
  const [algorithm = ""] = blob.digest.split(":", 1);
  const hash = createHash(algorithm);
  let size = 0n;
  try {
    for await (const part of open()) {
      hash.update(part);
      size += BigInt(part.length);
    }
  } catch (err) {
    if (err instanceof Error && "code" in err && err.code === "ENOENT") return "its file is missing";
    return `cannot be read: ${messageOf(err)}`;
  }
  if (size !== blob.size) return `has ${size} bytes instead of ${blob.size}`;
  const digest = `${algorithm}:${hash.digest("hex")}`;
  return digest === blob.digest ? undefined : `its bytes have the digest ${digest.slice(0, 19)}...`;
}

async function* remoteBytes(
  reader: ReturnType<ReturnType<typeof contentClient>["reader"]>,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using open = await reader;
  yield* open.stream();
}

/** Folder of the content store when this process may read it. */
export function localStore(root: string | undefined): string | undefined {
  return root !== undefined && existsSync(join(root, "blobs")) ? root : undefined;
}

/** A blob's bytes from the store's files. */
export function fileBytes(root: string, digest: string): AsyncIterable<Uint8Array> {
  return createReadStream(pathOf(root, digest), { highWaterMark: CHUNK });
}

function pathOf(root: string, digest: string): string {
  const [algorithm = "", hex = ""] = digest.split(":");
  return join(root, "blobs", algorithm, hex);
}
