/**
 * The live line of a pull. CRI itself tells nothing until the end, so the engine's content service is asked, where there is
 * one (ours and containerd's): what is being downloaded, and how far it is. Elsewhere only the time is shown.
 */
import { Content } from "../../api/gen/containerd/services/content/v1/content_pb.ts";
import { formatSize } from "../../lib/human.ts";
import { createClient } from "../../rpc/client.ts";
import type { CriContext } from "./context.ts";

const EVERY_MS = 200;
/** containerd's namespace of what CRI pulls. */
const HEADERS = new Map([["containerd-namespace", ["k8s.io"]]]);

/** Runs a pull; stderr shows how it goes when it is a terminal. */
export async function showPull(cri: CriContext, name: string, pull: () => Promise<string>): Promise<string> {
  if (process.stderr.isTTY !== true) return pull();
  const started = performance.now();
  const content = createClient(Content, await cri.imageTransport());
  const sums = new Sums();
  let asking: Promise<unknown> | undefined;
  let supported = true;
  const timer = setInterval(() => {
    draw(`${name}: ${sums.text()} ${((performance.now() - started) / 1000).toFixed(1)} s`);
    if (asking !== undefined || !supported) return;
    asking = content
      .listStatuses({ filters: [] }, { headers: HEADERS, timeoutMs: 1_000 })
      .then(({ statuses }) => sums.take(statuses))
      .catch(() => {
        supported = false;
      })
      .finally(() => {
        asking = undefined;
      });
  }, EVERY_MS);
  try {
    return await pull();
  } finally {
    clearInterval(timer);
    draw("");
  }
}

function draw(line: string): void {
  const columns = process.stderr.columns ?? 80;
  process.stderr.write(`\r\x1b[K${line.slice(0, columns - 1)}`);
}

interface Status {
  readonly ref: string;
  readonly offset: bigint;
  readonly total: bigint;
}

/** Adds up what is and was on the way. */
export class Sums {
  readonly #parts = new Map<string, { offset: bigint; total: bigint; active: boolean }>();

  /** What is being downloaded now; what was before and is not any more is complete. */
  take(statuses: readonly Status[]): void {
    for (const part of this.#parts.values()) {
      if (part.active && part.total > part.offset) part.offset = part.total;
      part.active = false;
    }
    for (const { ref, offset, total } of statuses) this.#parts.set(ref, { offset, total, active: true });
  }

  text(): string {
    const parts = [...this.#parts.values()];
    if (parts.length === 0) return "waiting for the registry";
    const sum = (of: (part: { offset: bigint; total: bigint }) => bigint): bigint =>
      parts.reduce((n, part) => n + of(part), 0n);
    const active = parts.filter((part) => part.active).length;
    const what = active === 0 ? "unpacking" : `downloading ${active} of ${parts.length}`;
    return `${what}, ${formatSize(sum((p) => p.offset))} of ${formatSize(sum((p) => p.total))},`;
  }
}
