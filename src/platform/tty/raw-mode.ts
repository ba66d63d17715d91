import { rawSettings, tcgetattr, tcsetattr } from "../syscalls/tty.ts";

/**
 * Puts the terminal `fd` into raw mode until disposed. Also restored when the process exits, so that a crash does not leave
 * the user's shell without echo.
 * @throws SyscallError ENOTTY
 */
export function enterRawMode(fd: number): Disposable {
  const before = tcgetattr(fd);
  tcsetattr(fd, rawSettings(before));
  let active = true;
  const restore = (): void => {
    if (!active) return;
    active = false;
    process.removeListener("exit", restore);
    tcsetattr(fd, before);
  };
  process.on("exit", restore);
  return { [Symbol.dispose]: restore };
}
