/** content active, delete, edit, get, ingest, list, label, prune references. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentClient } from "../../../client/content.ts";
import { leasesClient } from "../../../client/leases.ts";
import type { NamespacedCall } from "../../../core/call.ts";
import type { ContentStore } from "../../../core/content/content.ts";
import {
  failedPrecondition,
  invalidArgument,
  isAlreadyExists,
  isNotFound,
  messageOf,
} from "../../../core/errors.ts";
import { type Digest, parseDigest } from "../../../core/ids/digest.ts";
import { formatAge, formatSizeSi } from "../../../lib/human.ts";
import { formatRfc3339, nowNs } from "../../../lib/time.ts";
import { sha256 } from "../../../oci/descriptors.ts";
import { toStderr, toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { labelsOf, need, textOf } from "../context.ts";
import { rootLabel } from "../snapshotter-name.ts";
import { renderTabTable } from "../tab-table.ts";
import { formatLabels } from "../table.ts";
import { writeOut } from "../write-out.ts";

export const list: Action = async (context, args, options) => {
  await using transport = context.connect();
  const now = nowNs();
  const rows: string[][] = [];
  for await (const info of contentClient(transport).walk(context.call(), args)) {
    if (options["quiet"] === true) toStdout(`${info.digest}\n`);
    else
      rows.push([
        info.digest,
        formatSizeSi(info.size, 4),
        formatAge(now - info.createdAt),
        formatLabels(info.labels),
      ]);
  }
  if (options["quiet"] !== true) toStdout(renderTabTable(["DIGEST", "SIZE", "AGE", "LABELS"], rows));
  return 0;
};

export const active: Action = async (context, args) => {
  await using transport = context.connect();
  const wanted = pattern(args[0] ?? "");
  const now = nowNs();
  const all = await contentClient(transport).statuses(context.call(), []);
  const rows = all
    .filter((s) => wanted.test(s.ref))
    .map((s) => [s.ref, formatSizeSi(s.offset, 4), formatAge(now - s.startedAt), ""]);
  toStdout(renderTabTable(["REF", "SIZE", "AGE", ""], rows));
  return 0;
};

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (err) {
    throw invalidArgument(`regular expression "${text}": ${messageOf(err)}`, { cause: err });
  }
}

export const remove: Action = async (context, args) => {
  await using transport = context.connect();
  const call = context.call();
  const store = contentClient(transport);
  need(args, 0, "digest");
  let code = 0;
  for (const text of args) {
    try {
      const digest = parseDigest(text);
      await store.delete(call, digest);
      toStdout(`${digest}\n`);
    } catch (err) {
      // what is not there is as good as deleted, as with containerd's client
      if (isNotFound(err)) continue;
      toStderr(`ctr: failed to delete ${text}: ${messageOf(err)}\n`);
      code = 1;
    }
  }
  return code;
};

export const get: Action = async (context, args) => {
  await using transport = context.connect();
  const digest = parseDigest(need(args, 0, "digest"));
  await using reader = await contentClient(transport).reader(context.call(), digest);
  await writeOut(reader.stream());
  return 0;
};

export const ingest: Action = async (context, args, options) => {
  await using transport = context.connect();
  const ref = need(args, 0, "transaction reference");
  const digest = textOf(options, "expectedDigest");
  const size = textOf(options, "expectedSize");
  if (size !== "" && !/^\d{1,18}$/.test(size))
    throw invalidArgument(`expected size "${size}": use a number of bytes`);
  await store(contentClient(transport), context.call(), {
    ref,
    size: BigInt(size === "" ? "0" : size),
    expected: digest === "" ? undefined : parseDigest(digest),
    data: process.stdin,
  });
  return 0;
};

/** Writes a blob from the start, whatever an earlier try left. A blob that is there already is fine. */
async function store(
  content: ContentStore,
  call: NamespacedCall,
  blob: {
    readonly ref: string;
    readonly size: bigint;
    readonly expected: Digest | undefined;
    readonly data: AsyncIterable<Uint8Array>;
    readonly labels?: ReadonlyMap<string, string>;
  },
): Promise<void> {
  try {
    await using writer = await content.writer(call, blob);
    if (writer.status().offset > 0n) await writer.truncate(0n);
    for await (const part of blob.data) await writer.write(part);
    await writer.commit(blob.size, blob.expected, blob.labels);
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
}

export const edit: Action = async (context, args, options) => {
  await using transport = context.connect();
  const call = context.call(false);
  const content = contentClient(transport);
  const digest = parseDigest(need(args, 0, "digest"));
  const editor = textOf(options, "editor") || "vi";
  const parts: Uint8Array[] = [];
  await using reader = await content.reader(call, digest);
  for await (const part of reader.stream()) parts.push(new Uint8Array(part));
  const dir = mkdtempSync(join(tmpdir(), "ctr-edit-"));
  try {
    const path = join(dir, "blob");
    writeFileSync(path, Buffer.concat(parts));
    // $EDITOR may carry arguments, as for git
    const done = spawnSync("/bin/sh", ["-c", `${editor} "$1"`, "sh", path], { stdio: "inherit" });
    if (done.status !== 0)
      throw failedPrecondition(
        `edit ${digest}: editor "${editor}" ended with ${done.status ?? done.signal}`,
        {
          hint: "nothing was changed; choose an editor with --editor",
        },
      );
    const bytes = readFileSync(path);
    const want = textOf(options, "validate");
    if (want === "json") JSON.parse(bytes.toString("utf8"));
    const next = sha256(bytes);
    const data = (async function* () {
      yield bytes;
    })();
    await store(content, call, {
      ref: `edit-${next}`,
      size: BigInt(bytes.length),
      expected: next,
      data,
      labels: rootLabel(),
    });
    toStdout(`${next}\n`);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return 0;
};

export const label: Action = async (context, args) => {
  await using transport = context.connect();
  const digest = parseDigest(need(args, 0, "digest"));
  const labels = labelsOf(args.slice(1));
  const content = contentClient(transport);
  const call = context.call();
  const fields = [...labels.keys()].map((k) => `labels.${k}`);
  const info =
    fields.length === 0
      ? await content.info(call, digest)
      : await content.update(call, digest, labels, fields);
  toStdout(`${formatLabels(info.labels, "")}\n`);
  return 0;
};

/** Labels by which a manifest holds its layers; also of the time before labels had kinds, where 0 was the config. */
function isLayerLabel(key: string): boolean {
  const rest = /^containerd\.io\/gc\.ref\.content\.(.+)$/.exec(key)?.[1] ?? "";
  return rest.startsWith("l.") || (/^\d+$/.test(rest) && rest !== "0");
}

export const pruneReferences: Action = async (context, _args, options) => {
  await using transport = context.connect();
  const call = context.call();
  const content = contentClient(transport);
  const dry = options["dry"] === true;
  for await (const info of content.walk(call, [])) {
    const keys = [...info.labels.keys()].filter(isLayerLabel);
    if (keys.length === 0) continue;
    if (dry) for (const k of keys) toStderr(`would remove ${k} of ${info.digest}\n`);
    else
      await content.update(
        call,
        info.digest,
        new Map(),
        keys.map((k) => `labels.${k}`),
      );
  }
  if (dry || options["async"] === true) return 0;
  // the end of a lease with `sync` runs the collection now
  const leases = leasesClient(transport);
  const expire = formatRfc3339(nowNs() + 300_000_000_000n);
  const lease = await leases.create(call, "", new Map([["containerd.io/gc.expire", expire]]));
  await leases.delete(call, lease.id, true);
  return 0;
};
