/** images mount, images unmount. */

import { resolve } from "node:path";
import { contentClient } from "../../../client/content.ts";
import { imagesClient } from "../../../client/images.ts";
import { leasesClient } from "../../../client/leases.ts";
import { snapshotterClient } from "../../../client/snapshots.ts";
import { invalidArgument, isAlreadyExists, isNotFound, notFound } from "../../../core/errors.ts";
import { formatRfc3339, nowNs } from "../../../lib/time.ts";
import { hostPlatform } from "../../../oci/platform.ts";
import { mountAll, unmountAll } from "../../../platform/mounts/mounts.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { durationMs, need, textOf } from "../context.ts";
import { resolveImage } from "../image-config.ts";
import { platformsOf } from "../registry-options.ts";
import { snapshotterName } from "../snapshotter-name.ts";
import { unpackImage } from "../unpack.ts";

export const mount: Action = async (context, args, options) => {
  const ref = need(args, 0, "image ref");
  if (args[1] === undefined)
    throw invalidArgument("please provide a target path to mount to", {
      hint: `usage: ctr images mount ${ref} DIRECTORY`,
    });
  const target = resolve(args[1]);
  await using transport = context.connect();
  const call = context.call();
  const name = await snapshotterName(transport, call, options);
  const image = await imagesClient(transport)
    .get(call, ref)
    .catch((err: unknown) => {
      throw isNotFound(err)
        ? notFound(`image "${ref}"`, { hint: `pull it first: ctr images pull ${ref}` })
        : err;
    });
  const platform = platformsOf(options).platforms[0] ?? hostPlatform();
  const leases = leasesClient(transport);
  const expire = formatRfc3339(
    nowNs() + BigInt(durationMs(textOf(options, "expiration") || "1h")) * 1_000_000n,
  );
  // the lease is named after the target, so that unmount --rm finds it
  await leases
    .create(
      call,
      target,
      new Map([
        ["containerd.io/gc.expire", expire],
        [`containerd.io/gc.ref.snapshot.${name}`, target],
      ]),
    )
    .catch((err: unknown) => {
      if (!isAlreadyExists(err)) throw err;
    });
  const leased = call.with({ lease: target }).in(call.namespace);
  const snapshots = snapshotterClient(transport, name);
  let made = false;
  try {
    const resolved = await resolveImage(contentClient(transport), leased, image.target, platform);
    const chain = await unpackImage(transport, leased, name, resolved, {
      syncFs: options["syncFs"] === true,
    });
    const method = options["rw"] === true ? "prepare" : "view";
    const mounts = await snapshots[method](leased, target, chain ?? "", new Map())
      .then((m) => {
        made = true;
        return m;
      })
      .catch((err: unknown) => {
        if (isAlreadyExists(err)) return snapshots.mounts(leased, target);
        throw err;
      });
    mountAll(mounts, target);
    toStdout(`${chain ?? ""}\n${target}\n`);
  } catch (err) {
    const cleanup = call.detached(10_000);
    if (made) await snapshots.remove(cleanup, target).catch(() => {});
    await leases.delete(cleanup, target).catch(() => {});
    throw err;
  }
  return 0;
};

export const unmount: Action = async (context, args, options) => {
  const target = resolve(need(args, 0, "target path"));
  await using transport = context.connect();
  const call = context.call();
  await unmountAll(target);
  if (options["rm"] === true) {
    const name = await snapshotterName(transport, call, options);
    await snapshotterClient(transport, name)
      .remove(call, target)
      .catch((err: unknown) => {
        if (!isNotFound(err)) throw err;
      });
    await leasesClient(transport)
      .delete(call, target)
      .catch((err: unknown) => {
        if (!isNotFound(err)) throw err;
      });
  }
  toStdout(`${target}\n`);
  return 0;
};
