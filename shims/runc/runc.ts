/**
 * The OCI runtime's command line (runc, crun): one method per command. The runtime writes JSON lines to its own log file;
 * the last error line there is the reason of a failure, for stderr may be the container's.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { type GantryError, notFound, unknownError } from "../../src/core/errors.ts";
import { utf8Decode } from "../../src/lib/bytes.ts";
import { run, spawnProcess } from "../../src/platform/process/spawn.ts";
import { O_RDWR } from "../../src/platform/syscalls/constants.ts";
import { close, memfdCreate, open, pread, pwrite } from "../../src/platform/syscalls/files.ts";
import { forgetEnded } from "./forget.ts";
import { releaseInit } from "./release.ts";

const SIGKILL = 9;

/** Which runtime and how to call it. */
export interface RuncOptions {
  /** Program name or path. */
  readonly binary: string;
  /** State folder, of this namespace alone. */
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
  readonly criuImagePath: string;
  readonly criuWorkPath: string;
}

/** What `create`, `restore` and `exec` have in common. */
export interface RunIo {
  readonly fds: readonly [number, number, number];
  readonly pidFile: string;
  readonly consoleSocket?: string | undefined;
}

/** A command under way that leaves a process behind. */
export interface Begun {
  /** That process, when the command has ended well. @throws what the runtime says */
  readonly pid: Promise<number>;
  /** Ends the command itself. */
  kill(): void;
}

/** Options of {@link Runc.checkpoint}. */
export interface CheckpointFlags {
  readonly imagePath: string;
  readonly workPath: string;
  readonly parentPath: string;
  readonly leaveRunning: boolean;
  readonly openTcp: boolean;
  readonly externalUnixSockets: boolean;
  readonly terminal: boolean;
  readonly fileLocks: boolean;
  readonly emptyNamespaces: readonly string[];
  readonly cgroupsMode: string;
}

/** A runtime bound to the log file of one bundle. */
export class Runc {
  readonly options: RuncOptions;
  readonly #log: string;

  constructor(options: RuncOptions, logFile: string) {
    this.options = options;
    this.#log = logFile;
  }

  /** Makes the container; its init waits for `start`. */
  create(id: string, bundle: string, io: RunIo): Promise<number> {
    return this.#begin("create", [...this.#makeFlags(bundle, io), id], io).pid;
  }

  start(id: string): Promise<void> {
    return this.#command("start", [id]);
  }

  /** The same without the runtime's process, where that can be. @returns false when `start` is to do it */
  async release(id: string, alive: () => boolean): Promise<boolean> {
    // a program that stands in for runc may want to see the start
    if (basename(this.options.binary) !== "runc") return false;
    return await releaseInit(join(this.options.root, id), alive);
  }

  /** Adds a process described by the OCI process file. */
  exec(id: string, processFile: string, io: RunIo): Begun {
    const console = io.consoleSocket === undefined ? [] : ["--console-socket", io.consoleSocket];
    const tty = io.consoleSocket === undefined ? [] : ["--tty"];
    const flags = ["--detach", "--process", processFile, "--pid-file", io.pidFile, ...console, ...tty];
    return this.#begin("exec", [...flags, id], io);
  }

  /** Whether `exec` looks at the container first and reads its process file then, as runc does. */
  get readsProcessLast(): boolean {
    return basename(this.options.binary) === "runc";
  }

  /** Brings a checkpoint back to life, running. */
  restore(id: string, bundle: string, imagePath: string, io: RunIo): Promise<number> {
    const work = this.options.criuWorkPath === "" ? [] : ["--work-path", this.options.criuWorkPath];
    const flags = ["--detach", "--image-path", imagePath, ...work];
    return this.#begin("restore", [...flags, ...this.#makeFlags(bundle, io), id], io).pid;
  }

  /** Signals init, or with `all` every process of the container. */
  kill(id: string, signal: number, all: boolean): Promise<void> {
    return this.#command("kill", [...(all ? ["--all"] : []), id, String(signal)]);
  }

  /**
   * Removal of what is left of a container whose init was reaped, without the runtime's process, where that can be.
   * @returns false when `delete` is to do it
   */
  forget(id: string): boolean {
    // units are systemd's to remove
    if (basename(this.options.binary) !== "runc" || this.options.systemdCgroup) return false;
    return forgetEnded(join(this.options.root, id), id);
  }

  delete(id: string, force: boolean): Promise<void> {
    return this.#command("delete", [...(force ? ["--force"] : []), id]);
  }

  pause(id: string): Promise<void> {
    return this.#command("pause", [id]);
  }

  resume(id: string): Promise<void> {
    return this.#command("resume", [id]);
  }

  /** @param resources OCI LinuxResources as JSON */
  update(id: string, resources: Uint8Array): Promise<void> {
    return this.#command("update", ["--resources", "-", id], resources);
  }

  checkpoint(id: string, flags: CheckpointFlags): Promise<void> {
    const args = ["--image-path", flags.imagePath];
    if (flags.workPath !== "") args.push("--work-path", flags.workPath);
    if (flags.parentPath !== "") args.push("--parent-path", flags.parentPath);
    if (flags.leaveRunning) args.push("--leave-running");
    if (flags.openTcp) args.push("--tcp-established");
    if (flags.externalUnixSockets) args.push("--ext-unix-sk");
    if (flags.terminal) args.push("--shell-job");
    if (flags.fileLocks) args.push("--file-locks");
    for (const name of flags.emptyNamespaces) args.push("--empty-ns", name);
    if (flags.cgroupsMode !== "") args.push("--manage-cgroups-mode", flags.cgroupsMode);
    return this.#command("checkpoint", [...args, id]);
  }

  /** Output of `features`, OCI features JSON. */
  async features(): Promise<Uint8Array> {
    const done = await run(this.options.binary, ["features"], { timeoutMs: 10_000 });
    if (done.code !== 0)
      throw unknownError(`${this.options.binary} features: ${utf8Decode(done.stderr).trim()}`);
    return done.stdout;
  }

  #makeFlags(bundle: string, io: RunIo): string[] {
    const flags = ["--bundle", bundle, "--pid-file", io.pidFile];
    if (io.consoleSocket !== undefined) flags.push("--console-socket", io.consoleSocket);
    if (this.options.noPivotRoot) flags.push("--no-pivot");
    // crun knows no session keyring flag on older versions: it is passed only when asked for.
    if (this.options.noNewKeyring) flags.push("--no-new-keyring");
    return flags;
  }

  #global(): string[] {
    const { root, systemdCgroup } = this.options;
    const flags = ["--root", root, "--log", this.#log, "--log-format", "json"];
    return systemdCgroup ? [...flags, "--systemd-cgroup"] : flags;
  }

  /** Begins a command that leaves a process behind. */
  #begin(command: string, args: readonly string[], io: RunIo): Begun {
    const from = logSize(this.#log);
    const child = spawnProcess(this.options.binary, [...this.#global(), command, ...args], {
      stdio: [...io.fds],
    });
    const ended = async (): Promise<number> => {
      const { code } = await child.exited;
      if (code !== 0) throw this.#failure(command, code, from, "");
      const pid = Number.parseInt(readFileSync(io.pidFile, "utf8"), 10);
      if (!(pid > 0)) throw unknownError(`OCI runtime ${command}: read pid file "${io.pidFile}": no pid`);
      return pid;
    };
    return { pid: ended(), kill: () => void child.kill(SIGKILL) };
  }

  async #command(command: string, args: readonly string[], stdin?: Uint8Array): Promise<void> {
    const from = logSize(this.#log);
    const all = [...this.#global(), command, ...args];
    // Files in memory instead of pipes: hooks may leave children that keep them, and there is nothing to read meanwhile.
    const none = open("/dev/null", O_RDWR);
    const input = stdin === undefined ? none : memfdCreate("input");
    const said = memfdCreate("stderr");
    let code: number;
    let stderr = "";
    try {
      if (stdin !== undefined) pwrite(input, stdin, 0);
      code = (await spawnProcess(this.options.binary, all, { stdio: [input, none, said] }).exited).code;
      if (code !== 0) stderr = textOf(said);
    } finally {
      for (const fd of new Set([none, input, said])) close(fd);
    }
    if (code !== 0) throw this.#failure(command, code, from, stderr);
  }

  #failure(command: string, code: number, from: number, stderr: string): GantryError {
    const reason = lastError(readFrom(this.#log, from)) ?? (stderr === "" ? `exit status ${code}` : stderr);
    if (command === "kill" || command === "delete") {
      if (/process already finished|container not running|no such process/i.test(reason))
        return notFound("process already finished");
      if (/does not exist|not found/i.test(reason)) return notFound("no such container");
    }
    return unknownError(`OCI runtime ${command} failed: ${reason}`);
  }
}

/** What a runtime said, at most 64 KiB. */
function textOf(fd: number): string {
  const buffer = new Uint8Array(new ArrayBuffer(65_536));
  return utf8Decode(buffer.subarray(0, pread(fd, buffer, 0))).trim();
}

function logSize(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}

/** At most the last 64 KiB behind `offset`: runtimes log one line per failure. */
function readFrom(path: string, offset: number): string {
  const size = logSize(path);
  const start = Math.max(offset, size - 65_536);
  if (size <= start) return "";
  const buffer = new Uint8Array(size - start);
  const fd = openSync(path, "r");
  try {
    return utf8Decode(buffer.subarray(0, readSync(fd, buffer, 0, buffer.length, start)));
  } finally {
    closeSync(fd);
  }
}

/** Message of the last error line of a runtime's JSON log. */
export function lastError(log: string): string | undefined {
  let found: string | undefined;
  for (const line of log.split("\n")) {
    if (line === "") continue;
    try {
      const entry: unknown = JSON.parse(line);
      if (typeof entry !== "object" || entry === null) continue;
      const { level, msg } = entry as { level?: unknown; msg?: unknown };
      if ((level === "error" || level === "fatal") && typeof msg === "string") found = msg.trim();
    } catch {
      // A torn line says nothing.
    }
  }
  return found;
}
