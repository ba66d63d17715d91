/** Annotations of a spec. */
import type { PodSandboxConfig } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { ANNOTATION } from "./constants.ts";

type Texts = Readonly<Record<string, string>>;

/** Those of the request whose key matches one of the patterns that the configuration lets through. */
export function passedAnnotations(annotations: Texts, patterns: readonly string[]): [string, string][] {
  if (patterns.length === 0) return [];
  const expressions = patterns.flatMap((pattern) => globExpression(pattern) ?? []);
  return Object.entries(annotations).filter(([key]) => expressions.some((e) => e.test(key)));
}

/** What describes the pod in every spec of it. */
export function podAnnotations(id: string, config: PodSandboxConfig): [string, string][] {
  const { metadata } = config;
  return [
    [ANNOTATION.sandboxId, id],
    [ANNOTATION.sandboxNamespace, metadata?.namespace ?? ""],
    [ANNOTATION.sandboxUid, metadata?.uid ?? ""],
    [ANNOTATION.sandboxName, metadata?.name ?? ""],
  ];
}

/**
 * A shell pattern (`*`, `?`, `[a-z]`, `[^a]`, `\x`) as an expression; `*` does not cross a "/".
 * @returns undefined for a malformed pattern, which matches nothing
 */
export function globExpression(pattern: string): RegExp | undefined {
  let out = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern.charAt(i);
    if (char === "*") out += "[^/]*";
    else if (char === "?") out += "[^/]";
    else if (char === "\\") {
      if (++i >= pattern.length) return undefined;
      out += escaped(pattern.charAt(i));
    } else if (char === "[") {
      const end = pattern.indexOf("]", i + 2);
      if (end < 0) return undefined;
      const body = pattern
        .slice(i + 1, end)
        .replaceAll("\\", "\\\\")
        .replaceAll("[", "\\[");
      out += `(?!/)[${body}]`;
      i = end;
    } else out += escaped(char);
  }
  try {
    return new RegExp(`^${out}$`, "su");
  } catch {
    return undefined;
  }
}

function escaped(char: string): string {
  return char.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
}
