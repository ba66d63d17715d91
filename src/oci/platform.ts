/** Platforms: normal form, text form, and which one fits best, as containerd decides it. */
import { invalidArgument } from "../core/errors.ts";
import type { Platform } from "../core/oci.ts";

const KNOWN_OS = new Set(
  "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows zos".split(
    " ",
  ),
);
const KNOWN_ARCH = new Set(
  (
    "386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x wasm armbe arm64be " +
    "mips64p32 mips64p32le ppc riscv s390 sparc sparc64"
  ).split(" "),
);
const COMPONENT = /^[A-Za-z0-9_.-]+$/;

/** The platform of this machine. `arch` is node's name. */
export function hostPlatform(arch: string = process.arch): Platform {
  const names: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386", loong64: "loong64" };
  return normalizePlatform({ os: "linux", architecture: names[arch] ?? arch });
}

/** Aliases resolved, default variants dropped or added: aarch64 -> arm64, arm -> arm/v7, arm64/v8 -> arm64. */
export function normalizePlatform(p: Platform): Platform {
  const os = p.os.toLowerCase() === "macos" ? "darwin" : p.os.toLowerCase();
  const { architecture, variant } = normalizeArch(
    p.architecture.toLowerCase(),
    p.variant?.toLowerCase() ?? "",
  );
  return {
    os,
    architecture,
    ...(variant === "" ? {} : { variant }),
    ...(p.osVersion === undefined || p.osVersion === "" ? {} : { osVersion: p.osVersion }),
    ...(p.osFeatures === undefined || p.osFeatures.length === 0 ? {} : { osFeatures: p.osFeatures }),
  };
}

function normalizeArch(arch: string, variant: string): { architecture: string; variant: string } {
  switch (arch) {
    case "i386":
      return { architecture: "386", variant: "" };
    case "x86_64":
    case "x86-64":
    case "amd64":
      return { architecture: "amd64", variant: variant === "v1" ? "" : variant };
    case "aarch64":
    case "arm64":
      return { architecture: "arm64", variant: variant === "8" || variant === "v8" ? "" : variant };
    case "armhf":
      return { architecture: "arm", variant: "v7" };
    case "armel":
      return { architecture: "arm", variant: "v6" };
    case "arm":
      if (variant === "") return { architecture: arch, variant: "v7" };
      return { architecture: arch, variant: /^[5-8]$/.test(variant) ? `v${variant}` : variant };
    default:
      return { architecture: arch, variant };
  }
}

/**
 * Parses `os`, `arch`, `os/arch` or `os/arch/variant`; what is missing comes from `host`.
 * @throws invalid-argument
 */
export function parsePlatform(text: string, host: Platform = hostPlatform()): Platform {
  const parts = text.split("/").map((p, i) => (i === 0 ? p.replace(/\([^()]*\)$/, "") : p));
  for (const part of parts) {
    if (!COMPONENT.test(part))
      throw invalidArgument(
        `"${part}" is an invalid component of "${text}": platform specifier component must match "${COMPONENT.source}"`,
      );
  }
  const [a = "", b, c] = parts;
  if (parts.length > 3) throw invalidArgument(`"${text}": cannot parse platform specifier`);
  if (b !== undefined)
    return normalizePlatform({ os: a, architecture: b, ...(c === undefined ? {} : { variant: c }) });
  const lower = a.toLowerCase();
  if (KNOWN_OS.has(lower)) return normalizePlatform({ ...host, os: lower });
  const arch = normalizeArch(lower, "");
  if (KNOWN_ARCH.has(arch.architecture)) return normalizePlatform({ os: host.os, ...arch });
  throw invalidArgument(`"${text}": unknown operating system or architecture`);
}

/** `os/arch[/variant]`, "unknown" without an os. */
export function formatPlatform(p: Platform): string {
  if (p.os === "") return "unknown";
  return [p.os, p.architecture, p.variant ?? ""].filter((s) => s !== "").join("/");
}

/** Decides which platforms fit, and which fits better. */
export interface PlatformMatcher {
  match(p: Platform): boolean;
  /** Negative when `a` fits better than `b`. */
  compare(a: Platform, b: Platform): number;
}

/** Everything that runs on `p`, best first: exact, then older variants, then the 32-bit family. */
export function platformVector(p: Platform): Platform[] {
  const n = normalizePlatform(p);
  const out: Platform[] = [n];
  const os = n.os;
  if (n.architecture === "amd64") {
    const level = /^v([2-9])$/.exec(n.variant ?? "")?.[1];
    for (let v = Number(level ?? 1) - 1; v >= 1; v--)
      out.push(v === 1 ? { os, architecture: "amd64" } : { os, architecture: "amd64", variant: `v${v}` });
    out.push({ os, architecture: "386" });
  } else if (n.architecture === "arm") {
    const level = /^v([6-8])$/.exec(n.variant ?? "")?.[1];
    for (let v = Number(level ?? 5) - 1; v >= 5; v--) out.push({ os, architecture: "arm", variant: `v${v}` });
  } else if (n.architecture === "arm64") {
    if (n.variant !== undefined) out.push({ os, architecture: "arm64" });
    for (let v = 8; v >= 5; v--) out.push({ os, architecture: "arm", variant: `v${v}` });
  }
  return out;
}

const same = (a: Platform, b: Platform): boolean =>
  a.os === b.os && a.architecture === b.architecture && (a.variant ?? "") === (b.variant ?? "");

/** A matcher for an ordered list of accepted platforms. */
export function matchOrdered(list: readonly Platform[]): PlatformMatcher {
  const rank = (p: Platform): number => {
    const n = normalizePlatform(p);
    const at = list.findIndex((q) => same(q, n));
    return at < 0 ? list.length : at;
  };
  return { match: (p) => rank(p) < list.length, compare: (a, b) => rank(a) - rank(b) };
}

/** `p` and what can stand in for it, best first (containerd's Only). */
export function matchOnly(p: Platform): PlatformMatcher {
  return matchOrdered(platformVector(p));
}

/** Exactly `p` (containerd's OnlyStrict). */
export function matchStrict(p: Platform): PlatformMatcher {
  return matchOrdered([normalizePlatform(p)]);
}

/** Any of several, earlier ones first. */
export function matchAny(list: readonly Platform[]): PlatformMatcher {
  return matchOrdered(list.flatMap((p) => platformVector(p)));
}

/** Everything. */
export const matchAll: PlatformMatcher = { match: () => true, compare: () => 0 };
