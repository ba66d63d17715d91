/** config: the options of this client's own file. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { invalidArgument, messageOf, permissionDenied } from "../../../core/errors.ts";
import type { Action } from "../command.ts";
import { list, on, text } from "../options.ts";
import { renderTable } from "../output/table.ts";
import { DEFAULT_CONFIG, FILE_DEFAULTS, type FileOptions, readOptions, setOption } from "../settings.ts";

export const config: Action = async (context, args, options) => {
  const given = context.globals["config"];
  const path = typeof given === "string" ? given : DEFAULT_CONFIG;
  const get = text(options, "get");
  const settings = list(options, "set");
  const [key, value = "", ...more] = args;
  const writes = get === "" && !on(options, "list");
  if (writes && settings.length === 0 && (key === undefined || more.length > 0))
    throw invalidArgument("nothing to do", {
      hint: "use crictl config --get KEY, --set KEY=VALUE, --list, or crictl config KEY VALUE",
    });
  const current: FileOptions = existsSync(path) ? readOptions(path) : { ...FILE_DEFAULTS };
  if (get !== "") {
    if (!Object.hasOwn(FILE_DEFAULTS, get)) setOption(current, get, "");
    process.stdout.write(`${String(current[get as keyof FileOptions])}\n`);
    return 0;
  }
  if (settings.length > 0) {
    for (const setting of settings.flatMap((s) => s.split(","))) {
      const at = setting.indexOf("=");
      if (at < 0)
        throw invalidArgument(`incorrectly specified option: ${setting}`, { hint: "use KEY=VALUE" });
      setOption(current, setting.slice(0, at), setting.slice(at + 1));
    }
    write(path, current);
  } else if (on(options, "list")) {
    const rows = Object.entries(current).map(([name, v]) => [name, String(v)]);
    process.stdout.write(renderTable([["KEY", "VALUE"], ...rows]));
  } else {
    setOption(current, key ?? "", value);
    write(path, current);
  }
  return 0;
};

/** Every option, in the order people know. */
function write(path: string, options: FileOptions): void {
  const line = ([key, value]: [string, unknown]): string =>
    `${key}: ${typeof value === "string" ? JSON.stringify(value) : String(value)}\n`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, Object.entries(options).map(line).join(""), { mode: 0o644 });
  } catch (err) {
    throw permissionDenied(`write config file "${path}": ${messageOf(err)}`, {
      cause: err,
      hint: "run as root, or name another file: crictl --config FILE config ...",
    });
  }
}
