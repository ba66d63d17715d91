/** What the engine needs of its host: runtime, kernel, control groups, CNI, room, and processes that hang. */

import { accessSync, constants, existsSync, readdirSync, readFileSync, statfsSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../core/errors.ts";
import { formatSize } from "../../lib/human.ts";
import { allPids, commandLineOf, readProcFile, readProcStat } from "../../platform/process/proc.ts";
import { run } from "../../platform/process/spawn.ts";
import { oldRunc } from "../../plugins/runtime/runc-version.ts";
import type { DoctorContext, Finding } from "./finding.ts";

/** Less than this is little: bytes, and share of the file system. */
const LITTLE_BYTES = 2 << 30;
const LITTLE_SHARE = 0.05;
/** A call that runs longer is stuck. Seconds. */
const STUCK_S = 30;
const CNI_DIRS = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/** Looks at the host. */
export async function hostFindings(context: DoctorContext): Promise<Finding[]> {
  return [
    ...(await runtime()),
    ...kernel(),
    ...cni(),
    ...room(context),
    ...(await stuckCalls(context)),
    ...(await hanging()),
  ];
}

async function runtime(): Promise<Finding[]> {
  try {
    const { code, stdout } = await run("runc", ["--version"], { timeoutMs: 5_000 });
    const text = new TextDecoder().decode(stdout);
    if (code !== 0) throw new Error(`runc --version: exit code ${code}`);
    const old = oldRunc(text);
    return [
      old === undefined
        ? { check: "runtime", level: "ok", text: text.split("\n")[0] ?? "runc" }
        : { check: "runtime", level: "warning", text: old },
    ];
  } catch (err) {
    return [
      {
        check: "runtime",
        level: "problem",
        text: `runc cannot be run: ${messageOf(err)}`,
        next: "install the package runc, or name another runtime in the configuration",
      },
    ];
  }
}

function kernel(): Finding[] {
  const out: Finding[] = [];
  const filesystems = readFileSync("/proc/filesystems", "utf8");
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  if (/\boverlay\b/.test(filesystems))
    out.push({ check: "kernel", level: "ok", text: `${release}, overlayfs` });
  else
    out.push({
      check: "kernel",
      level: "problem",
      text: `${release} has no overlayfs`,
      next: "modprobe overlay; put overlay into /etc/modules-load.d/containerd.conf",
    });
  const v2 = existsSync("/sys/fs/cgroup/cgroup.controllers");
  const controllers = v2
    ? readFileSync("/sys/fs/cgroup/cgroup.controllers", "utf8").trim().split(" ")
    : readdirSync("/sys/fs/cgroup").flatMap((name) => name.split(","));
  const missing = ["cpu", "memory", "pids"].filter((name) => !controllers.includes(name));
  if (missing.length === 0) out.push({ check: "cgroups", level: "ok", text: `version ${v2 ? 2 : 1}` });
  else
    out.push({
      check: "cgroups",
      level: "warning",
      text: `version ${v2 ? 2 : 1} without ${missing.join(", ")}: such limits have no effect`,
      next: "on some boards: cgroup_enable=memory cgroup_memory=1 on the kernel command line",
    });
  for (const [path, want] of [
    ["/proc/sys/net/ipv4/ip_forward", "1"],
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "1"],
  ] as const) {
    const now = existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
    if (now !== want && !(now === undefined && path.includes("/bridge/")))
      out.push({
        check: "network",
        level: "warning",
        text: `${path.slice("/proc/sys/".length).replaceAll("/", ".")} is ${now ?? "missing"}`,
        next: `pods reach each other and the world only with ${want}: sysctl -w ${path.slice("/proc/sys/".length).replaceAll("/", ".")}=${want}`,
      });
  }
  return out;
}

function cni(): Finding[] {
  const dirs = CNI_DIRS.filter((dir) => isExecutable(join(dir, "bridge")));
  if (dirs.length === 0)
    return [
      {
        check: "cni",
        level: "warning",
        text: `no plugins in ${CNI_DIRS.join(", ")}`,
        next: "pods and published ports need them: install containernetworking-plugins",
      },
    ];
  const confs = existsSync("/etc/cni/net.d")
    ? readdirSync("/etc/cni/net.d").filter((name) => /\.(conf|conflist|json)$/.test(name))
    : [];
  const text = `plugins in ${dirs.join(", ")}; ${confs.length === 0 ? "no network in /etc/cni/net.d" : confs.join(", ")}`;
  return [
    confs.length > 0
      ? { check: "cni", level: "ok", text }
      : {
          check: "cni",
          level: "warning",
          text,
          next: "pods are not ready without one; gantry run has its own network",
        },
  ];
}

function room(context: DoctorContext): Finding[] {
  return [context.root, context.state].flatMap((path): Finding[] => {
    if (!existsSync(path)) return [];
    const { bavail, bsize, blocks, ffree, files } = statfsSync(path);
    const free = bavail * bsize;
    const text = `${path}: ${formatSize(free)} free of ${formatSize(blocks * bsize)}`;
    if (files > 0 && ffree / files < LITTLE_SHARE)
      return [
        {
          check: "disk",
          level: "problem",
          text: `${path}: ${ffree} inodes left`,
          next: "gantry system df; remove images",
        },
      ];
    // a small state folder (tmpfs) is as it should be
    const little = path === context.root && (free < LITTLE_BYTES || bavail / blocks < LITTLE_SHARE);
    return [
      little
        ? {
            check: "disk",
            level: "warning",
            text,
            next: "gantry system df shows what uses it; ctr images prune --all",
          }
        : { check: "disk", level: "ok", text },
    ];
  });
}

/** Unary calls that have run for long, from the debug socket where there is one. */
async function stuckCalls(context: DoctorContext): Promise<Finding[]> {
  if (!existsSync(context.debugSocket)) return [];
  try {
    const text = await new Promise<string>((resolve, reject) => {
      const req = request(
        { socketPath: context.debugSocket, path: "/debug/pprof/goroutine", timeout: 5_000 },
        (answer) => {
          let body = "";
          answer.setEncoding("utf8").on("data", (chunk: string) => {
            body += chunk;
          });
          answer.on("end", () => resolve(body));
        },
      );
      req.on("error", reject).on("timeout", () => req.destroy(new Error("no answer within 5 s")));
      req.end();
    });
    const stuck = [...text.matchAll(/^(\d+(?:\.\d+)?)s (\S+) namespace=(\S+)$/gm)].filter(
      (m) => Number(m[1]) > STUCK_S,
    );
    if (stuck.length === 0) return [{ check: "calls", level: "ok", text: "none is stuck" }];
    return stuck.map((m) => ({
      check: "calls",
      level: "problem" as const,
      text: `${m[2]} in namespace ${m[3]} has run for ${m[1]} s`,
      next: "look below for a process that hangs; the daemon's log names the step",
    }));
  } catch (err) {
    return [
      { check: "calls", level: "warning", text: `debug socket "${context.debugSocket}": ${messageOf(err)}` },
    ];
  }
}

/** How long a process must wait at the same place before it counts as hanging: busy disks let everybody wait a little. */
const HANGS_MS = 1_000;

/** Processes of the engine that wait in the kernel: a dead disk or file server under them. */
async function hanging(): Promise<Finding[]> {
  const look = (): Map<number, { command: string; where: string }> => {
    const found = new Map<number, { command: string; where: string }>();
    for (const pid of allPids()) {
      const stat = readProcStat(pid);
      if (stat?.state !== "D" || !/^(containerd|gantry|runc|crun|ctr|unpack|bun)/.test(stat.command))
        continue;
      found.set(pid, { command: stat.command, where: readProcFile(`/proc/${pid}/wchan`) ?? "" });
    }
    return found;
  };
  const first = look();
  if (first.size === 0) return [];
  await delay(HANGS_MS);
  const out: Finding[] = [];
  for (const [pid, { command, where }] of look()) {
    if (first.get(pid)?.where !== where) continue;
    out.push({
      check: "processes",
      level: "warning",
      text: `${command} (pid ${pid}: ${(commandLineOf(pid) ?? []).slice(0, 4).join(" ")}) waits in the kernel${where === "" || where === "0" ? "" : ` at ${where}`}`,
      next: "it cannot be ended: look for a file system that does not answer (dmesg, mount)",
    });
  }
  return out;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
