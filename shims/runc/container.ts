/**
 * A container and its processes.
 *
 * Events leave in this order: create < start < exit < delete; exec-added < exec-started < exit of the exec; init's exit
 * after those of all execs; oom before exit.
 */
import { join } from "node:path";
import { failedPrecondition, messageOf, notFound } from "../../src/core/errors.ts";
import type { Logger } from "../../src/core/log.ts";
import type { Exit, Stdio } from "../../src/core/tasks/tasks.ts";
import type { Cgroup, CgroupLayout } from "../../src/platform/cgroups/cgroups.ts";
import { detachTree, mountAll } from "../../src/platform/mounts/mounts.ts";
import type { Mount } from "../../src/platform/mounts/options.ts";
import { findProgram } from "../../src/platform/process/find-program.ts";
import { cgroupPaths } from "../../src/platform/process/proc.ts";
import { Awake, type Kept } from "../shared/rest.ts";
import { askStreams } from "./ask-streams.ts";
import { withConsole } from "./console.ts";
import { type CgroupState, ContainerCgroup } from "./container-cgroup.ts";
import { restoreInPlace } from "./criu.ts";
import type { TaskEvents } from "./events.ts";
import { Execs, type ExecsState } from "./execs.ts";
import { writeExit } from "./exit-record.ts";
import { Leftovers } from "./leftovers.ts";
import { type Options, runcOf, saveOptions } from "./options.ts";
import { exitOf, Process, type ProcessState, startMark } from "./process.ts";
import { checkRootfs } from "./rootfs-check.ts";
import type { CheckpointFlags, Runc, RunIo } from "./runc.ts";
import { type SpecTraits, traitsOf } from "./spec.ts";
import { adoptStdio, openStdio } from "./stdio.ts";

/** A shim that stays lets go of a removed container's root after this pause, in milliseconds. */
const RELEASE_MS = 500;

/** What ends without asking. */
const SIGKILL = 9;
/** Exit status of what it ended. */
const KILLED = 128 + SIGKILL;

/** What a container is made from. */
export interface ContainerInit extends Stdio {
  readonly id: string;
  readonly namespace: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  /** Folder of a checkpoint to restore, "" for a fresh start. */
  readonly checkpoint: string;
  readonly options: Options;
}

/** What containers share. */
export interface ContainerHost {
  readonly events: TaskEvents;
  readonly log: Logger;
  readonly layout: () => CgroupLayout;
}

/** What goes through the shim's sleep. */
export interface ContainerState {
  readonly facts: ContainerInit;
  readonly traits: SpecTraits;
  readonly init: ProcessState;
  readonly execs: ExecsState;
  readonly cgroup: CgroupState;
  readonly leftovers: { readonly taken: boolean; readonly gone: boolean };
}

export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: Process;
  readonly #facts: ContainerInit;
  readonly #host: ContainerHost;
  readonly #runc: Runc;
  readonly #execs: Execs;
  readonly #traits: SpecTraits;
  readonly #cgroup: ContainerCgroup;
  readonly #leftovers: Leftovers;
  /** Init was reaped; its exit may still have to be told. */
  #initEnded = false;
  /** A client had init killed. */
  #killAsked = false;

  private constructor(facts: ContainerInit, host: ContainerHost, traits: SpecTraits, init: Process) {
    this.#facts = facts;
    this.#host = host;
    this.id = facts.id;
    this.bundle = facts.bundle;
    this.init = init;
    this.#runc = runcOf(facts.options, facts.namespace, facts.bundle);
    this.#traits = traits;
    this.#cgroup = new ContainerCgroup(host.layout, () => host.events.oom(facts.id));
    this.#execs = new Execs({ id: facts.id, bundle: facts.bundle, runc: this.#runc, log: host.log });
    this.#leftovers = new Leftovers(this.#runc, facts.id, traits);
  }

  /** Makes a container up to where its init waits for {@link start}. On failure nothing is left. */
  static async create(facts: ContainerInit, host: ContainerHost): Promise<Container> {
    const init = new Process("", facts, { tag: "added" });
    const container = new Container(facts, host, traitsOf(facts.bundle), init);
    saveOptions(facts.bundle, facts.options);
    mountAll(facts.rootfs, container.#rootfs);
    try {
      checkRootfs(container.#rootfs);
      if (facts.checkpoint === "")
        await container.#launchInit((io) => container.#runc.create(facts.id, facts.bundle, io));
    } catch (error) {
      // A container of that name that was there before is not ours to remove.
      if (!/already (exists|in use)/.test(messageOf(error)))
        await container.#runc.delete(facts.id, true).catch(() => {});
      await container.#unmount();
      throw error;
    }
    host.events.created(facts, container.init.pid);
    return container;
  }

  /** Its state for the shim's sleep. @throws Awake while something is under way */
  rest(kept: Kept): ContainerState {
    // between init's end and its exit being told, or while its remains are being removed
    if (this.#initEnded !== (this.init.exit !== undefined)) throw new Awake(`container ${this.id} is ending`);
    if (this.#leftovers.isLeaving) throw new Awake(`container ${this.id} is being removed`);
    return {
      facts: this.#facts,
      traits: this.#traits,
      init: this.init.rest(kept),
      execs: this.#execs.rest(kept),
      cgroup: this.#cgroup.rest(kept, this.init.alive),
      leftovers: { taken: this.#leftovers.taken, gone: this.#leftovers.areGone },
    };
  }

  /** The container of before the sleep. What ended meanwhile is told from now on. */
  static async restored(state: ContainerState, host: ContainerHost): Promise<Container> {
    const known = async (process: ProcessState): Promise<Process> => {
      const io = process.io === undefined ? undefined : await adoptStdio(process.io, host.log);
      return Process.restored(process, io);
    };
    const container = new Container(state.facts, host, state.traits, await known(state.init));
    container.#leftovers.restore(state.leftovers);
    container.#initEnded = container.init.exit !== undefined;
    container.#execs.restore(state.execs, await Promise.all(state.execs.processes.map(known)));
    container.#cgroup.restore(state.cgroup, container.init.alive);
    for (const exec of container.#execs.alive) void container.#watchExec(exec, exec.pid, 0n);
    if (container.init.alive) void container.#watchInit(container.init.pid, 0n);
    return container;
  }

  get #rootfs(): string {
    return join(this.bundle, "rootfs");
  }

  /** @throws not-found */
  process(execId: string): Process {
    if (execId === "") return this.init;
    const found = this.#execs.get(execId);
    if (found === undefined) throw notFound(`process does not exist ${execId}`);
    return found;
  }

  /** Starts init or an exec. @returns pid */
  async start(execId: string): Promise<number> {
    const process = this.process(execId);
    if (process.starting !== undefined) throw failedPrecondition("process is being started");
    const work = execId === "" ? this.#startInit() : this.#startExec(process);
    process.starting = work.catch(() => {});
    try {
      await work;
    } finally {
      process.starting = undefined;
    }
    return process.pid;
  }

  async #startInit(): Promise<void> {
    const { init } = this;
    if (init.phase.tag === "added") {
      const { id, bundle, checkpoint } = this.#facts;
      if (this.#host.layout().mode === "v2") restoreInPlace(bundle);
      await this.#launchInit((io) => this.#runc.restore(id, bundle, checkpoint, io));
    } else {
      if (init.phase.tag !== "created") throw failedPrecondition(`cannot start a ${init.phase.tag} process`);
      const released =
        !this.#traits.hooks && (await this.#runc.release(this.id, () => !this.#initEnded).catch(() => false));
      if (!released) await this.#runc.start(this.id);
    }
    init.apply({ tag: "started", pid: init.pid });
    this.#host.events.started(this.id, init.pid);
  }

  /** Ends what was begun of execs that were not started. */
  giveUpExecs(): Promise<void> {
    return this.#execs.giveUp();
  }

  async #startExec(exec: Process): Promise<void> {
    if (exec.phase.tag !== "added") throw failedPrecondition(`cannot start a ${exec.phase.tag} process`);
    const { tag } = this.init.phase;
    if (!this.init.alive || tag === "paused") {
      await exec.ahead?.cancel();
      throw failedPrecondition(`cannot exec in a ${tag} container`);
    }
    const since = startMark();
    const pid = await this.#execs.start(exec, (pidFile, command) => this.#launch(exec, pidFile, command));
    exec.apply({ tag: "started", pid });
    this.#host.events.execStarted(this.id, exec.execId, pid);
    void this.#watchExec(exec, pid, since);
  }

  /** Runs a command that makes init, and watches over what it made. */
  async #launchInit(command: (io: RunIo) => Promise<number>): Promise<void> {
    const since = startMark();
    const pid = await this.#launch(this.init, join(this.bundle, "init.pid"), command);
    this.init.phase = { tag: "created", pid };
    this.#cgroup.follow(cgroupPaths(pid), true);
    void this.#watchInit(pid, since);
  }

  async #launch(process: Process, pidFile: string, command: (io: RunIo) => Promise<number>): Promise<number> {
    const { namespace, options } = this.#facts;
    const pipes = process === this.init && findProgram("criu") !== undefined;
    const owner = { id: this.id, namespace, uid: options.ioUid, gid: options.ioGid, pipes };
    const io = await openStdio(process.streams, owner, this.#host.log);
    try {
      return await withConsole(process.streams.terminal, async (socket) => {
        const pid = await command({ fds: io.fds, pidFile, consoleSocket: socket?.path });
        if (socket !== undefined) io.attach(socket.receive());
        io.spawned();
        process.io = io;
        process.attached();
        return pid;
      });
    } catch (error) {
      io.spawned();
      await io.close();
      throw error;
    }
  }

  async #watchExec(exec: Process, pid: number, since: bigint): Promise<void> {
    const exit = await exitOf(pid, since);
    await exec.starting;
    // a want of memory is told before what it killed; of other kills the kernel tells
    if (exit.status === KILLED) this.#cgroup.look();
    exec.apply({ tag: "exited", exit });
    this.#host.events.exited(this.id, exec.execId, exit);
  }

  async #watchInit(pid: number, since: bigint): Promise<void> {
    const exit = await exitOf(pid, since);
    this.#initEnded = true;
    await this.init.starting;
    void this.#execs.giveUp();
    if (this.#traits.sharesPids) await this.#runc.kill(this.id, 9, true).catch(() => {});
    await this.#execs.ended();
    this.#cgroup.unwatch();
    this.#cgroup.look(exit.status === KILLED && !this.#killAsked);
    try {
      writeExit(this.bundle, exit);
    } catch (error) {
      this.#host.log.warn("write exit record", { id: this.id, err: error });
    }
    await this.init.logged();
    this.init.apply({ tag: "exited", exit });
    this.#host.events.exited(this.id, "", exit);
    this.#leftovers.begin();
  }

  /** Adds an exec. @throws already-exists, invalid-argument */
  exec(execId: string, streams: Stdio, spec: Uint8Array): void {
    this.#execs.assertNew(execId);
    if (this.init.exit !== undefined) throw failedPrecondition("cannot exec in a stopped container");
    this.#execs.add(execId, streams, spec);
    const { ioUid, ioGid } = this.#facts.options;
    const runs = this.init.phase.tag === "running" && !this.#initEnded;
    // before anything else: the runtime takes longer to load than the client to say Start
    if (runs && ioUid === 0 && ioGid === 0) this.#execs.begin(this.process(execId));
    this.#host.events.execAdded(this.id, execId);
  }

  /** Signals a process; `all` every process of the container. */
  async kill(execId: string, signal: number, all: boolean): Promise<void> {
    const process = this.process(execId);
    if (execId === "") this.#killAsked ||= signal === SIGKILL;
    if (execId === "" && (all || process.phase.tag === "paused")) {
      if (!process.alive && !all) throw notFound("process already finished");
      // The runtime thaws what it kills.
      await this.#runc.kill(this.id, signal, all);
    } else {
      process.kill(signal);
    }
  }

  /** Removes an exec. @throws failed-precondition while it runs */
  async deleteExec(execId: string): Promise<Exit> {
    const exec = this.process(execId);
    await exec.starting;
    exec.apply({ tag: "deleted" });
    await exec.ahead?.cancel();
    await exec.closeStreams();
    this.#execs.remove(execId);
    return exec.exit ?? { pid: 0, status: 0, exitedAt: 0n };
  }

  /** Removes the container. @throws failed-precondition while it runs */
  async delete(): Promise<Exit> {
    const { init } = this;
    await init.starting;
    if (init.phase.tag === "created") {
      this.#leftovers.taken = true;
      await this.#runc.delete(this.id, true);
      await init.wait();
    } else if (init.phase.tag === "running" || init.phase.tag === "paused") {
      throw failedPrecondition("cannot delete a running process");
    }
    await this.#execs.giveUp();
    for (const exec of this.#execs.all) await exec.closeStreams();
    await init.closeStreams();
    await this.#leftovers.remove();
    await this.#unmount();
    this.#cgroup.unwatch();
    if (init.phase.tag !== "deleted") init.apply({ tag: "deleted" });
    const exit = init.exit ?? { pid: 0, status: 0, exitedAt: 0n };
    this.#host.events.deleted(this.id, exit);
    return exit;
  }

  async pause(): Promise<void> {
    if (this.init.phase.tag !== "running")
      throw failedPrecondition(`cannot pause a ${this.init.phase.tag} process`);
    await this.#runc.pause(this.id);
    this.init.apply({ tag: "paused" });
    this.#host.events.paused(this.id);
  }

  async resume(): Promise<void> {
    if (this.init.phase.tag !== "paused")
      throw failedPrecondition(`cannot resume a ${this.init.phase.tag} process`);
    await this.#runc.resume(this.id);
    this.init.apply({ tag: "resumed" });
    this.#host.events.resumed(this.id);
  }

  /** @param resources OCI LinuxResources as JSON */
  async update(resources: Uint8Array): Promise<void> {
    if (!this.init.alive) throw failedPrecondition(`cannot update a ${this.init.phase.tag} container`);
    await this.#runc.update(this.id, resources);
  }

  /** As {@link askStreams} of the logs of init. */
  updateStreams(annotations: ReadonlyMap<string, string>): boolean {
    return askStreams(this.init.io?.logs ?? [], annotations);
  }

  async checkpoint(flags: CheckpointFlags): Promise<void> {
    if (this.init.phase.tag !== "running" && this.init.phase.tag !== "paused")
      throw failedPrecondition(`cannot checkpoint a ${this.init.phase.tag} process`);
    this.#leftovers.taken = !flags.leaveRunning;
    await this.#runc.checkpoint(this.id, flags);
    this.#host.events.checkpointed(this.id, flags.imagePath);
  }

  /** Every process inside, with the exec id of those that are execs. */
  pids(): { pid: number; execId: string }[] {
    if (!this.init.alive) return [];
    const byPid = new Map(this.#execs.alive.map((exec) => [exec.pid, exec.execId]));
    return (this.#cgroup.procs() ?? [this.init.pid]).map((pid) => ({ pid, execId: byPid.get(pid) ?? "" }));
  }

  /** @throws not-found when it never had a cgroup */
  get cgroup(): Cgroup {
    return this.#cgroup.existing;
  }

  async #unmount(): Promise<void> {
    if (this.#facts.rootfs.length === 0) return;
    // The flush of what the container wrote must not hold up the answer, nor a busy mount the removal.
    const release = await detachTree(this.#rootfs);
    setTimeout(release, RELEASE_MS).unref();
  }
}
