/**
 * Takes a changed configuration into the running daemon: on SIGHUP and when a file changes. What can change live does,
 * what cannot is named, and a file with an error changes nothing.
 */
import { existsSync, type FSWatcher, readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { GantryError, messageOf } from "../../core/errors.ts";
import type { Logger } from "../../core/log.ts";
import type { Booted } from "./boot.ts";
import type { LoadedConfig } from "./config/load.ts";
import type { Table } from "./config/migrate.ts";

/** What a reload needs of the daemon. */
export interface ReloadTarget {
  /** Reads and checks the files. @throws when they cannot be used */
  load(): LoadedConfig;
  /** Plugin tables with the flags of the command line over them. */
  tables(config: LoadedConfig): Readonly<Record<string, Table>>;
  readonly booted: Booted;
  /** The new configuration is right and will be handed to the plugins now. */
  checked(config: LoadedConfig): void;
  /**
   * Takes changed keys outside of `plugins`.
   * @returns the names of those it took
   */
  applyTop(settings: Table, changed: readonly string[]): readonly string[];
  readonly log: Logger;
}

/** Reloads of one daemon, one at a time. */
export interface Reloader {
  /** Reloads now. Never rejects: failures are logged and change nothing. */
  reload(reason: string): Promise<void>;
  close(): void;
}

/** Time that a burst of file events may last before the files are read. Milliseconds. */
const SETTLE_MS = 300;

/**
 * Starts to watch the files of `initial`.
 * @param loaded {@link contentOf} those files when they were read: what changed since then is a change
 */
export function startReloader(
  target: ReloadTarget,
  path: string,
  initial: LoadedConfig,
  loaded: string,
): Reloader {
  const { log } = target;
  let current = initial;
  let content = loaded;
  let running: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let watchers: FSWatcher[] = [];
  let closed = false;

  const run = async (reason: string): Promise<void> => {
    let config: LoadedConfig;
    try {
      config = target.load();
      const now = contentOf(path, config);
      const next = config;
      const report = await target.booted.reload(target.tables(config), () => target.checked(next));
      const top = changedTop(current.settings, config.settings);
      const taken = target.applyTop(config.settings, top);
      content = now;
      current = { ...config, settings: keepOld(config.settings, current.settings, top, taken) };
      for (const w of config.warnings)
        log.warn("ignore configuration key", { file: w.file, line: w.line, key: w.key, reason: w.message });
      const restart = [...top.filter((key) => !taken.includes(key)), ...report.restart];
      log.info("configuration reloaded", {
        reason,
        applied: [...taken, ...report.applied].join(", ") || "nothing changed",
        ...(restart.length === 0 ? {} : { needs_restart: restart.join(", ") }),
      });
    } catch (err) {
      content = contentOf(path, current);
      log.error("reload refused, nothing was changed", {
        reason,
        err,
        ...(err instanceof GantryError && err.hint !== undefined ? { hint: err.hint } : {}),
      });
      return;
    }
    watchFolders();
    changed(); // nobody watched for a moment
  };
  const reload = (reason: string): Promise<void> => {
    running = running.then(() => (closed ? undefined : run(reason)));
    return running;
  };
  const changed = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // editors touch and rename: only other bytes are a change
      if (contentOf(path, current) !== content) void reload("file changed");
    }, SETTLE_MS);
    timer.unref();
  };
  const watchFolders = (): void => {
    for (const w of watchers) w.close();
    watchers = [];
    for (const [folder, names] of watchedFolders(path, current)) {
      try {
        const watcher = watch(folder, { persistent: false }, (_event, name) => {
          if (name === null || names === undefined || names.has(name)) changed();
        });
        watcher.on("error", (err) => log.warn("watch configuration folder", { folder, err: messageOf(err) }));
        watchers.push(watcher);
      } catch (err) {
        log.warn("watch configuration folder: SIGHUP still reloads", { folder, err: messageOf(err) });
      }
    }
  };
  watchFolders();
  changed();
  return {
    reload,
    close: () => {
      closed = true;
      clearTimeout(timer);
      for (const w of watchers) w.close();
    },
  };
}

/** Folders to watch with the file names that matter; undefined = all, for folders that a pattern of `imports` names. */
function watchedFolders(path: string, config: LoadedConfig): Map<string, Set<string> | undefined> {
  const out = new Map<string, Set<string> | undefined>();
  const add = (folder: string, name?: string): void => {
    if (!existsSync(folder)) return;
    if (name === undefined) out.set(folder, undefined);
    else if (!out.has(folder)) out.set(folder, new Set([name]));
    else out.get(folder)?.add(name);
  };
  for (const file of [path, ...config.files]) add(dirname(file), basename(file));
  for (const folder of config.importFolders) add(folder);
  return out;
}

/** Every byte that a reload reads: main file and imports. */
export function contentOf(path: string, config: LoadedConfig): string {
  const files = new Set([path, ...config.files, ...config.importCandidates()]);
  return [...files].map((file) => `${file}\n${existsSync(file) ? readQuiet(file) : ""}`).join("\n");
}

function readQuiet(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

function changedTop(before: Table, after: Table): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (key) => key !== "plugins" && key !== "version" && !isDeepStrictEqual(before[key], after[key]),
  );
}

/** The settings that now run: changed keys that nobody took keep their old value, and are named again. */
function keepOld(next: Table, old: Table, changed: readonly string[], taken: readonly string[]): Table {
  const out = { ...next };
  for (const key of changed) {
    if (taken.includes(key)) continue;
    if (old[key] === undefined) delete out[key];
    else out[key] = old[key];
  }
  return out;
}
