/** A `ctr` of any kind bound to a socket and a containerd namespace, run without blocking this process. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import type { Said } from "../peers/peer.ts";

/** Milliseconds after which a client that hangs is killed. */
const TIMEOUT = 30_000;
/**
 * A shim that inherited a pipe of its client may hold it open: after so many turns of the event loop, of so many milliseconds, it is
 * given up. Turns, because a single timer also fires first in a process that had no processor for that long, with all data unread.
 */
const PIPE_TURNS = 50;
const PIPE_TURN = 20;

/** A client that runs. */
export interface Running {
  readonly pid: number;
  /** What it wrote to stdout so far. */
  out(): string;
  /** Ends with what it said. Never rejects. */
  readonly done: Promise<Said>;
  /** Resolves when stdout matches; rejects when the client ends first, or after 20 s. */
  sees(pattern: RegExp): Promise<void>;
  write(text: string): void;
  end(): void;
  kill(signal: NodeJS.Signals): void;
}

/** How to run one client. */
export interface RunOptions {
  /** Written to its stdin, which is then closed. Without it stdin is empty. */
  readonly input?: string;
  /** Keep stdin open for `write`. */
  readonly open?: boolean;
  readonly timeout?: number;
}

/** See the file's comment. */
export class Client {
  readonly program: readonly [string, ...string[]];
  readonly address: string;
  readonly namespace: string;

  constructor(program: readonly [string, ...string[]], address: string, namespace: string) {
    this.program = program;
    this.address = address;
    this.namespace = namespace;
  }

  /** The same client in another namespace. */
  in(namespace: string): Client {
    return new Client(this.program, this.address, namespace);
  }

  /** The command line, for a shell. */
  line(...args: readonly string[]): string {
    return [...this.program, "--address", this.address, "-n", this.namespace, ...args].map(quote).join(" ");
  }

  /** Starts a client. */
  start(args: readonly string[], options: RunOptions = {}): Running {
    const [program, ...lead] = this.program;
    const all = [...lead, "--address", this.address, "-n", this.namespace, ...args];
    const child = spawn(program, all, { stdio: ["pipe", "pipe", "pipe"] });
    return running(child, options);
  }

  /** Runs a client to its end. Never throws: the caller asserts on the code. */
  run(...args: readonly string[]): Promise<Said> {
    return this.start(args).done;
  }

  /** Runs a client that must end with 0. @returns its stdout */
  async ok(...args: readonly string[]): Promise<string> {
    const said = await this.run(...args);
    if (said.code !== 0)
      throw new Error(`ctr ${args.join(" ")}: exit code ${said.code}\n${said.out}${said.err}`);
    return said.out;
  }
}

/** Runs a shell script to its end, below a new terminal when `tty`. */
export function shell(script: string, options: RunOptions & { readonly tty?: boolean } = {}): Promise<Said> {
  const child =
    options.tty === true
      ? spawn("script", ["-qec", script, "/dev/null"], { stdio: ["pipe", "pipe", "pipe"] })
      : spawn("sh", ["-c", script], { stdio: ["pipe", "pipe", "pipe"] });
  return running(child, options).done;
}

function running(child: ChildProcess, options: RunOptions): Running {
  let out = "";
  let err = "";
  const changed = new Set<() => void>();
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    for (const tell of changed) tell();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
  child.stdin?.on("error", () => {});
  if (options.input !== undefined) child.stdin?.end(options.input);
  else if (options.open !== true) child.stdin?.end();
  const timer = setTimeout(() => {
    err += "\nkilled: no end in time";
    child.kill("SIGKILL");
  }, options.timeout ?? TIMEOUT);
  const done = new Promise<Said>((resolve) => {
    child.once("error", (why) => resolve({ code: 128, out, err: `${err}${why.message}` }));
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      let open = true;
      const said = (): void => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        if (open && out === "") err += "\n(the client ended and its stdout stayed open)";
        resolve({ code: code ?? (signal === null ? 128 : 129), out, err });
      };
      const turns = async (): Promise<void> => {
        for (let turn = 0; turn < PIPE_TURNS && open; turn++) await delay(PIPE_TURN);
        if (open) said();
      };
      child.once("close", () => {
        open = false;
        said();
      });
      void turns();
    });
  });
  return {
    pid: child.pid ?? -1,
    out: () => out,
    done,
    sees: (pattern) =>
      new Promise<void>((resolve, reject) => {
        const fail = (why: string): void => {
          changed.delete(look);
          clearTimeout(late);
          reject(new Error(`wait for ${pattern}: ${why}; it said: ${out}${err}`));
        };
        const look = (): void => {
          if (!pattern.test(out)) return;
          changed.delete(look);
          clearTimeout(late);
          resolve();
        };
        const late = setTimeout(() => fail("20 s are over"), 20_000);
        changed.add(look);
        void done.then(() => (pattern.test(out) ? look() : fail("the client ended")));
        look();
      }),
    write: (text) => child.stdin?.write(text),
    end: () => child.stdin?.end(),
    kill: (signal) => child.kill(signal),
  };
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Asks until the answer is true; polls because a client's view has no event. @throws Error after `ms` */
export async function until(what: string, ask: () => Promise<boolean> | boolean, ms = 10_000): Promise<void> {
  const end = Date.now() + ms;
  while (!(await ask())) {
    if (Date.now() > end) throw new Error(`wait for ${what}: not in ${ms} ms`);
    await delay(25);
  }
}
