/**
 * `containerd oci-hook PROGRAM ARG...`: makes an OCI hook of any program. The container's state comes on stdin; `{{id}}`, `{{bundle}}`,
 * `{{rootfs}}`, `{{pid}}`, `{{status}}` and `{{annotation "KEY"}}` in the arguments and the environment become its values.
 */
import { readFileSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { invalidArgument, wrap } from "../../core/errors.ts";
import { spawnProcess } from "../../platform/process/spawn.ts";

/** What an OCI runtime tells hooks; the fields that templates may name. */
interface HookState {
  readonly id?: string;
  readonly status?: string;
  readonly pid?: number;
  readonly bundle?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** @returns the exit code of the program */
export async function ociHook(args: readonly string[]): Promise<number> {
  if (args.length === 0)
    throw invalidArgument("program of the hook: none is given", {
      hint: "usage: containerd oci-hook PROGRAM ARG... with the container's state on stdin",
    });
  let state: HookState;
  try {
    state = JSON.parse(readFileSync(0, "utf8")) as HookState;
  } catch (err) {
    throw wrap(err, "read the container's state from stdin");
  }
  const [program = "", ...rest] = args.map((arg) => render(arg, state));
  const env = Object.fromEntries(
    Object.entries(process.env).map(([name, value]) => [
      name,
      value === undefined ? value : render(value, state),
    ]),
  );
  const child = spawnProcess(program, rest, { env, stdio: ["ignore", "inherit", "inherit"] });
  return (await child.exited).code;
}

/** Fills in one word. @throws invalid-argument for what templates have no name for */
export function render(text: string, state: HookState): string {
  return text.replace(/\{\{\s*(.*?)\s*\}\}/gs, (_, expression: string) => {
    const annotation = /^annotation\s+(?:"([^"]*)"|`([^`]*)`)$/.exec(expression);
    if (annotation !== null) return state.annotations?.[annotation[1] ?? annotation[2] ?? ""] ?? "";
    switch (expression) {
      case "id":
        return state.id ?? "";
      case "bundle":
        return state.bundle ?? "";
      case "pid":
        return String(state.pid ?? 0);
      case "status":
        return state.status ?? "";
      case "rootfs":
        return rootfsOf(state.bundle ?? "");
      default:
        throw invalidArgument(`template "{{${expression}}}": not known`, {
          hint: 'use id, bundle, rootfs, pid, status or annotation "KEY"',
        });
    }
  });
}

function rootfsOf(bundle: string): string {
  const spec = JSON.parse(readFileSync(join(bundle, "config.json"), "utf8")) as { root?: { path?: string } };
  const path = spec.root?.path ?? "rootfs";
  return isAbsolute(path) ? path : join(bundle, path);
}
