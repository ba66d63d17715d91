/** Introspection over the booted graph. */
import { readlinkSync } from "node:fs";
import type { AnyValue } from "../../core/any.ts";
import { notFound, notImplemented } from "../../core/errors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import type { Introspection, PluginStatus } from "../../core/introspection/introspection.ts";
import type { Booted } from "./boot.ts";

/** A plugin that answers typed questions (runtime info). */
interface Answering {
  pluginInfo(options: AnyValue | undefined): Promise<AnyValue | undefined>;
}

/** `bootRef` is filled when boot has finished. */
export function createIntrospection(
  plugins: () => readonly PluginStatus[],
  uuid: string,
  bootRef: { booted?: Booted },
): Introspection {
  return {
    async plugins(_call, filters) {
      const match = compileFilters(filters);
      return plugins().filter((p) => match((path) => fieldOf(p, path)));
    },
    async server() {
      return { uuid, pid: process.pid, pidns: pidNamespace(), deprecations: [] };
    },
    async pluginInfo(_call, type, id, options) {
      const plugin = plugins().find((p) => p.type === type && p.id === id);
      if (plugin === undefined) throw notFound(`plugin "${type}.${id}"`);
      if (options === undefined) return { plugin };
      const instance = bootRef.booted?.instances(type).get(id);
      if (!isAnswering(instance)) throw notImplemented(`plugin "${type}.${id}": does not answer questions`);
      return { plugin, extra: await instance.pluginInfo(options) };
    },
  };
}

function isAnswering(value: unknown): value is Answering {
  return (
    typeof value === "object" &&
    value !== null &&
    "pluginInfo" in value &&
    typeof value.pluginInfo === "function"
  );
}

function fieldOf(p: PluginStatus, path: readonly string[]): { value: string; present: boolean } {
  const [first, ...rest] = path;
  if (first === "type") return { value: p.type, present: p.type !== "" };
  if (first === "id") return { value: p.id, present: p.id !== "" };
  if (first === "capabilities")
    return { value: p.capabilities.join(","), present: p.capabilities.includes(rest.join(".")) };
  if (first === "platforms")
    return {
      value: p.platforms.map((x) => `${x.os}/${x.architecture}`).join(","),
      present: p.platforms.length > 0,
    };
  return { value: "", present: false };
}

/** Inode of the PID namespace. */
function pidNamespace(): bigint {
  const match = /\[(\d+)\]/.exec(readlinkSync("/proc/self/ns/pid"));
  return BigInt(match?.[1] ?? "0");
}
