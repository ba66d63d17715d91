/** The two daemons under measurement, and what every case needs of them. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ImageSet } from "../fixtures/images.ts";
import type { Registry } from "../fixtures/registry.ts";
import {
  type Ctr,
  ctrOf,
  type Daemon,
  type PeerVersion,
  peerBin,
  peerCtr,
  startDaemon,
  startPeer,
} from "../peers/peer.ts";

const ROOT = join(import.meta.dirname, "../..");

/** A daemon and the ways to talk to it. */
export interface Engine {
  readonly name: string;
  /** Folder with its own containerd, ctr and shim. */
  readonly bin: string;
  readonly daemon: Daemon;
  /** Debian's client: the same for both engines. Throws when the command failed. */
  readonly ctr: (...args: readonly string[]) => string;
  /** The engine's own client. Throws when the command failed. */
  readonly own: (...args: readonly string[]) => string;
}

/** What a case works with. */
export interface Bench {
  readonly ours: Engine;
  readonly reference: Engine;
  readonly images: ImageSet;
  readonly registry: Registry;
  readonly rounds: number;
  /** Rounds of expensive cases. */
  readonly few: number;
  /** Cases that take many minutes at full size run at full size (`--full`). */
  readonly full: boolean;
}

/** Starts "gantry" (dist/bin, or the folder GANTRY_TEST_BIN names) or one of Debian's versions. */
export async function startEngine(name: "gantry" | PeerVersion, client: PeerVersion): Promise<Engine> {
  const bin = name === "gantry" ? (process.env["GANTRY_TEST_BIN"] ?? join(ROOT, "dist/bin")) : peerBin(name);
  if (!existsSync(join(bin, "containerd")))
    throw new Error(`start engine: no ${bin}/containerd; run: npm run build`);
  const daemon =
    name === "gantry"
      ? await startDaemon({ command: [join(bin, "containerd")], path: [bin] })
      : await startPeer(name);
  const ctr = must(peerCtr(client, daemon.address, 300_000));
  return { name, bin, daemon, ctr, own: must(ctrOf(join(bin, "ctr"), daemon.address, 300_000)) };
}

function must(ctr: Ctr): Engine["ctr"] {
  return (...args) => {
    const said = ctr(...args);
    if (said.code !== 0)
      throw new Error(`ctr ${args.join(" ")}: code ${said.code}: ${said.err.trim().slice(-600)}`);
    return said.out;
  };
}

/** Removes all images and waits for the collection of their content and snapshots. */
export function clean(engine: Engine): void {
  const names = engine.ctr("images", "ls", "-q").split("\n").filter(Boolean);
  if (names.length > 0) engine.ctr("images", "rm", "--sync", ...names);
}
