import { abortError } from "../../core/call.ts";
import { deadlineExceeded, unavailable } from "../../core/errors.ts";
import { createDeferred, type Deferred } from "../../lib/deferred.ts";
import { LONGEST_TIMER_MS } from "../../lib/time.ts";
import { addressText, type ConnectAddress, openSocket } from "../connect.ts";
import { H2Session } from "../http2/session.ts";
import type { H2Stream } from "../http2/stream.ts";

/** The one connection of a client: made when needed, made again when lost, shared by all calls. */
export class GrpcConnection {
  readonly #address: ConnectAddress;
  readonly #timeoutMs: number;
  #session: H2Session | undefined;
  #connecting: Promise<H2Session> | undefined;
  /** Calls that wait for a free stream. */
  #waiting: Deferred<void>[] = [];
  #closed = false;

  constructor(address: ConnectAddress, connectTimeoutMs: number) {
    this.#address = address;
    this.#timeoutMs = connectTimeoutMs;
  }

  /** Opens a stream when that is possible right now. */
  tryOpen(): H2Stream | undefined {
    return this.#session?.canOpen === true && !this.#closed ? this.#session.open() : undefined;
  }

  /**
   * Opens a stream, connecting or waiting for a free one as needed. Send its headers before the next await.
   * @throws unavailable when there is no connection to be had, canceled, deadline-exceeded
   */
  async open(signal: AbortSignal | undefined, deadline: number | undefined): Promise<H2Stream> {
    for (;;) {
      if (this.#closed) throw unavailable(`call to "${addressText(this.#address)}": the client is closed`);
      const session = this.#session;
      if (session?.canOpen === true) return session.open();
      if (session?.isOpen === true) {
        const turn = createDeferred<void>();
        this.#waiting.push(turn);
        await bounded(turn.promise, signal, deadline);
      } else {
        this.#connecting ??= this.#connect().finally(() => {
          this.#connecting = undefined;
        });
        await bounded(this.#connecting, signal, deadline);
      }
    }
  }

  /** Resolves when it is not being made, well or not. */
  async settled(): Promise<void> {
    await this.#connecting?.catch(() => {});
  }

  /** Ends the connection; running calls fail as unavailable. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#session?.close();
    this.#wake();
  }

  async #connect(): Promise<H2Session> {
    const socket = await openSocket(this.#address, this.#timeoutMs, ["h2"]);
    const forget = (): void => {
      if (this.#session === session) this.#session = undefined;
      this.#wake();
    };
    const session: H2Session = new H2Session(socket, {
      role: "client",
      onGoaway: forget,
      onClose: forget,
      onCapacity: () => this.#wake(),
    });
    if (this.#closed) session.close();
    else this.#session = session;
    return session;
  }

  #wake(): void {
    for (const turn of this.#waiting.splice(0)) turn.resolve();
  }
}

/** Waits for `work`, but not beyond the signal and the deadline. */
async function bounded(
  work: Promise<unknown>,
  signal: AbortSignal | undefined,
  deadline: number | undefined,
): Promise<void> {
  if (signal === undefined && deadline === undefined) {
    await work;
    return;
  }
  if (signal?.aborted === true) throw abortError(signal);
  const stop = createDeferred<never>();
  const onAbort = (): void => {
    if (signal !== undefined) stop.reject(abortError(signal));
  };
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer =
    deadline === undefined
      ? undefined
      : setTimeout(
          () => stop.reject(deadlineExceeded("context deadline exceeded")),
          Math.min(Math.max(0, deadline - performance.now()), LONGEST_TIMER_MS),
        );
  try {
    await Promise.race([work, stop.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}
