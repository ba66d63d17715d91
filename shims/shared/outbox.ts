/**
 * Events on their way to the daemon. Each is written to a file before it is sent and leaves the file when the daemon has
 * acknowledged it, so a shim that is killed loses none: whoever cleans up after it reads the rest with {@link readOutbox}.
 *
 * The file is a row of records: length (u32 little-endian; the highest bit says acknowledged), then an Envelope in protobuf.
 * It is emptied whenever nothing is waiting. A shim that is killed between an acknowledgement and its mark leaves that one
 * event to be told again.
 */
import { readFileSync, rmSync } from "node:fs";
import type { Logger } from "../../src/core/log.ts";
import { sleep } from "../../src/lib/retry.ts";
import { O_CREAT, O_WRONLY } from "../../src/platform/syscalls/constants.ts";
import { close, ftruncate, open, pwrite } from "../../src/platform/syscalls/files.ts";
import { Envelope, type EnvelopeInit } from "./messages.ts";
import { decode, encode } from "./wire.ts";

/** Most events kept; beyond it the oldest that is no exit or delete is dropped. */
const LIMIT = 2048;
const ACKNOWLEDGED = 0x8000_0000;
const FIRST_DELAY_MS = 50;
const LAST_DELAY_MS = 1000;

/** Sends one event; rejects when the daemon did not take it. */
export type Send = (envelope: EnvelopeInit) => Promise<void>;

export interface Outbox {
  /** Queues an event; events leave in the order of these calls. */
  push(envelope: EnvelopeInit): void;
  /** Resolves when nothing is waiting, or after `ms` milliseconds. */
  flush(ms: number): Promise<void>;
  /** Number of waiting events. */
  readonly size: number;
  /** Keeps the file at another path from now on, with what is waiting; the old one is removed. */
  moveTo(path: string): void;
  /** Removes the file. */
  close(): void;
}

/** True for errors that another try cannot mend: the daemon read the event and refused it. */
export type IsRefused = (error: unknown) => boolean;

/** Opens an outbox whose file is `first` (mode 0600). */
export function createOutbox(first: string, send: Send, isRefused: IsRefused, log: Logger): Outbox {
  let path = first;
  const queue: EnvelopeInit[] = [];
  /** Where the record of an event begins, and how long its envelope is. */
  const records = new WeakMap<EnvelopeInit, { readonly at: number; readonly length: number }>();
  let fd: number | undefined;
  let size = 0;
  let sending = false;
  let waiters: (() => void)[] = [];

  const append = (envelope: EnvelopeInit): void => {
    try {
      fd ??= open(path, O_WRONLY | O_CREAT, 0o600);
      const body = encode(Envelope, envelope);
      const record = new Uint8Array(4 + body.length);
      new DataView(record.buffer).setUint32(0, body.length, true);
      record.set(body, 4);
      pwrite(fd, record, size);
      records.set(envelope, { at: size, length: body.length });
      size += record.length;
    } catch (error) {
      // A full disk must not stop the events themselves.
      log.warn("write outbox", { err: error });
    }
  };
  const rewrite = (): void => {
    if (fd === undefined || size === 0) return;
    ftruncate(fd, 0);
    size = 0;
    for (const envelope of queue) append(envelope);
  };
  /** Whoever reads the file after a kill must not tell an event again that the daemon has. */
  const mark = (envelope: EnvelopeInit): void => {
    const known = records.get(envelope);
    if (fd === undefined || known === undefined) return;
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, (known.length | ACKNOWLEDGED) >>> 0, true);
    try {
      pwrite(fd, head, known.at);
    } catch (error) {
      log.warn("write outbox", { err: error });
    }
  };
  const pump = async (): Promise<void> => {
    let delay = FIRST_DELAY_MS;
    for (let head = queue[0]; head !== undefined; head = queue[0]) {
      try {
        await send(head);
      } catch (error) {
        if (!isRefused(error)) {
          await sleep(delay);
          delay = Math.min(delay * 2, LAST_DELAY_MS);
          continue;
        }
        log.warn("the daemon refused an event", { topic: head.topic, err: error });
      }
      delay = FIRST_DELAY_MS;
      const at = queue.indexOf(head);
      if (at >= 0) queue.splice(at, 1);
      if (queue.length === 0) rewrite();
      else mark(head);
    }
  };
  return {
    get size() {
      return queue.length;
    },
    push(envelope) {
      if (queue.length >= LIMIT) {
        const loser = queue.findIndex((e, i) => i > 0 && !/\/(exit|delete)$/.test(e.topic ?? ""));
        queue.splice(loser < 0 ? 1 : loser, 1);
        log.warn("outbox full: dropped an event");
        rewrite();
      }
      queue.push(envelope);
      append(envelope);
      if (sending) return;
      sending = true;
      // The caller's own answer goes first.
      setImmediate(() => {
        void pump().finally(() => {
          sending = false;
          for (const done of waiters) done();
          waiters = [];
        });
      });
    },
    async flush(ms) {
      if (!sending) return;
      await Promise.race([new Promise<void>((done) => waiters.push(done)), sleep(ms)]);
    },
    moveTo(next) {
      const old = { fd, path };
      fd = undefined;
      size = 0;
      path = next;
      // in this order: killed in between, an event is told twice by whoever reads both, never lost
      for (const envelope of queue) append(envelope);
      if (old.fd !== undefined) close(old.fd);
      rmSync(old.path, { force: true });
    },
    close() {
      if (fd !== undefined) close(fd);
      fd = undefined;
      if (queue.length === 0) rmSync(path, { force: true });
    },
  };
}

/** Events a dead shim left at `path`; a torn last record is dropped. Empty when there is no file. */
export function readOutbox(path: string): EnvelopeInit[] {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch {
    return [];
  }
  const out: EnvelopeInit[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length; ) {
    const head = view.getUint32(at, true);
    const length = (head & ~ACKNOWLEDGED) >>> 0;
    if (at + 4 + length > bytes.length) break;
    try {
      if (head < ACKNOWLEDGED) out.push(decode(Envelope, bytes.subarray(at + 4, at + 4 + length)));
    } catch {
      break;
    }
    at += 4 + length;
  }
  return out;
}
