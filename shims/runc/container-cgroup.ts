/** A container's cgroup as it was when init started, and the out-of-memory kills in it. */
import { notFound } from "../../src/core/errors.ts";
import { type Cgroup, type CgroupLayout, cgroupFrom } from "../../src/platform/cgroups/cgroups.ts";
import type { OomWatch } from "../../src/platform/cgroups/oom-watch.ts";
import { Awake, type Kept } from "../shared/rest.ts";

/** What goes through the shim's sleep. */
export interface CgroupState {
  readonly paths: ReadonlyMap<string, string> | undefined;
  readonly oomSeen: bigint;
}

export class ContainerCgroup {
  readonly #layout: () => CgroupLayout;
  readonly #onOom: () => void;
  #cgroup: Cgroup | undefined;
  #paths: ReadonlyMap<string, string> | undefined;
  #watch: OomWatch | undefined;
  #oomSeen = 0n;

  /** @param onOom told once for any number of kills since the last look */
  constructor(layout: () => CgroupLayout, onOom: () => void) {
    this.#layout = layout;
    this.#onOom = onOom;
  }

  /** Its state for the shim's sleep. @throws Awake when there is something to be told */
  rest(kept: Kept, alive: boolean): CgroupState {
    const watch = alive ? this.#watch?.rest() : undefined;
    if (watch !== undefined) {
      for (const fd of watch.keep) kept.pass(fd, watch.made.includes(fd));
      kept.watch(watch.poll, watch.events);
      if ((this.#cgroup?.oomKills() ?? 0n) > this.#oomSeen) throw new Awake("out-of-memory kill to be told");
    }
    return { paths: this.#paths, oomSeen: this.#oomSeen };
  }

  /** Goes on from before the sleep. */
  restore(state: CgroupState, alive: boolean): void {
    this.#oomSeen = state.oomSeen;
    this.follow(state.paths, alive);
    this.look();
  }

  /** Knows the cgroup from now on, and watches it while something lives there. */
  follow(paths: ReadonlyMap<string, string> | undefined, alive: boolean): void {
    this.#paths = paths;
    this.#cgroup = paths === undefined ? undefined : cgroupFrom(paths, this.#layout());
    if (alive) this.#watch = this.#cgroup?.watchOom(() => this.look());
  }

  /** Compares the kernel's count of out-of-memory kills with what was told. `atLast`: something killed init, and not us. */
  look(atLast = false): void {
    try {
      const kills = (atLast ? this.#cgroup?.oomKillsAtLast() : this.#cgroup?.oomKills()) ?? 0n;
      if (kills <= this.#oomSeen) return;
      this.#oomSeen = kills;
    } catch {
      // the cgroup is gone, and its counters with it
      return;
    }
    this.#onOom();
  }

  /** Nothing lives there any more. */
  unwatch(): void {
    this.#watch?.[Symbol.dispose]();
  }

  /** Pids inside; undefined when there never was a cgroup. */
  procs(): number[] | undefined {
    return this.#cgroup?.procs();
  }

  /** @throws not-found when it never had a cgroup, or has none any more */
  get existing(): Cgroup {
    if (this.#cgroup === undefined || !this.#cgroup.exists()) throw notFound("cgroup does not exist");
    return this.#cgroup;
  }
}
