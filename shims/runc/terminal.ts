/** Streams of a process with a terminal: its master is copied, both ways. */
import { readFd } from "../../src/platform/fs/fd-stream.ts";
import type { FifoReader } from "../../src/platform/fs/fifo.ts";
import { Pty } from "../../src/platform/tty/console.ts";
import { touch } from "../shared/activity.ts";
import { Awake } from "../shared/rest.ts";
import type { Opened, ProcessStdio, SinkState } from "./opened.ts";

/** @param output where it is printed to; undefined when that is nowhere, or over. @param known a terminal that was attached before */
export function terminalStdio(
  opened: Opened,
  fds: readonly [number, number, number],
  reader: FifoReader | undefined,
  output: SinkState | undefined,
  known: { readonly master: number; readonly input: boolean } | undefined,
): ProcessStdio {
  const sink = output === undefined ? undefined : opened.sink(output);
  let pty: Pty | undefined;
  let printing = false;
  let typing = false;
  let typed = 0;
  const stopInput = new AbortController();
  const pumpIn = async (terminal: Pty, fd: number): Promise<void> => {
    typing = true;
    try {
      for await (const chunk of readFd(fd, stopInput.signal)) {
        touch();
        typed++;
        await terminal.write(chunk).finally(() => {
          typed--;
        });
      }
    } finally {
      typing = false;
    }
  };
  const pumpOut = async (terminal: Pty): Promise<void> => {
    printing = true;
    let broken = sink === undefined;
    try {
      for await (const chunk of terminal.read()) {
        touch();
        if (broken) continue;
        await sink?.write(chunk).catch(() => {
          broken = true;
        });
      }
    } finally {
      printing = false;
    }
  };
  const attach = (master: number, input: boolean): void => {
    const terminal = new Pty(master);
    pty = terminal;
    opened.copies.push(
      pumpOut(terminal)
        .catch((error: unknown) => opened.log.warn("copy terminal", { err: error }))
        .finally(() => sink?.close(opened.stop.signal.aborted).catch(() => {})),
    );
    if (reader !== undefined && input) void pumpIn(terminal, reader.fd).catch(() => {});
  };
  if (known !== undefined) attach(known.master, known.input);
  return {
    logs: [...opened.logs.values()],
    fds,
    spawned: () => opened.spawned(),
    attach: (master) => attach(master, true),
    resize: (columns, rows) => pty?.resize({ columns, rows }),
    closeStdin: () => reader?.release(),
    exited: () => {
      reader?.release();
      stopInput.abort();
    },
    get drained() {
      return opened.drained;
    },
    async close() {
      reader?.release();
      stopInput.abort();
      opened.stop.abort();
      await pty?.close();
      if (pty === undefined) await sink?.close(true).catch(() => {});
      await opened.closeAll();
    },
    rest(kept) {
      if (pty === undefined || typed > 0) throw new Awake("terminal");
      // one that is over has ended for good and would wake at once
      const master = printing ? kept.watch(pty.fd) : kept.keep(pty.fd);
      if (typing && reader !== undefined) kept.watch(reader.fd);
      if (reader?.keeper !== undefined) kept.keep(reader.keeper);
      return {
        ...opened.rest(kept),
        input: undefined,
        keepers: [],
        terminal: {
          master,
          input: typing,
          output: printing ? output : undefined,
          reader: opened.has(reader?.fd),
          keeper: reader?.keeper,
        },
      };
    },
  };
}
