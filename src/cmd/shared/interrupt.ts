/** Ctrl-C and SIGTERM at a client: one signal for all calls, and the exit code that shells give to a program that it ended. */
const STATUS = { SIGINT: 130, SIGTERM: 143 } as const;

let controller: AbortController | undefined;
let status: number | undefined;
let passedOn = false;

/** Aborts at the first SIGINT or SIGTERM; the second one ends the process. */
export function interrupted(): AbortSignal {
  if (controller === undefined) {
    const made = new AbortController();
    controller = made;
    for (const name of ["SIGINT", "SIGTERM"] as const)
      process.on(name, () => {
        if (passedOn) return;
        if (status !== undefined) process.exit(STATUS[name]);
        status = STATUS[name];
        made.abort();
      });
  }
  return controller.signal;
}

/** 128 and the number of the signal that came; undefined when none did. */
export const interruptStatus = (): number | undefined => status;

/** From here on signals are for a process that this client runs, until the end of the scope. */
export function passSignalsOn(): Disposable {
  passedOn = true;
  return {
    [Symbol.dispose]() {
      passedOn = false;
    },
  };
}
