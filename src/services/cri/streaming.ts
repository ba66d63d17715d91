/** Exec, Attach, PortForward (URLs of the streaming server) and ExecSync. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { failedPrecondition, invalidArgument, wrap } from "../../core/errors.ts";
import type { ServerConfig } from "../../cri/config.ts";
import type { Cri } from "../../cri/cri.ts";
import type { ExecSyncResult } from "../../cri/exec/exec-sync.ts";
import { runningContainer } from "../../cri/exec/process.ts";
import { createExecRuntime } from "../../cri/exec/runtime.ts";
import type { StreamingServer } from "../../cri/streaming/server.ts";
import { lazyAsync } from "../../lib/lazy.ts";
import { EncodedMessage } from "../../rpc/types.ts";
import type { RuntimeMethods } from "./methods.ts";

export function streamingMethods(cri: Cri, config: ServerConfig): RuntimeMethods {
  const { deps, store } = cri;
  const runtime = createExecRuntime({
    view: store,
    tasks: deps.tasks,
    containers: deps.metadata.containers,
    ioDir: join(deps.state, "io"),
    drainMs: deps.config.drainExecSyncIoTimeout,
    log: deps.log,
    live: cri.execs,
  });
  // Most nodes never stream: the server is loaded and listens when it is asked for the first time.
  const server = lazyAsync(async (): Promise<StreamingServer> => {
    const { createStreamingServer } = await import("../../cri/streaming/server.ts");
    const made = createStreamingServer(runtime, {
      host: config.streamServerAddress,
      port: config.streamServerPort,
      ...(await tls(config)),
      limits: { idleMs: config.streamIdleTimeout },
      log: deps.log,
    });
    await made.listen();
    deps.call.signal.addEventListener("abort", () => void made.close(), { once: true });
    return made;
  });
  return {
    async exec(r) {
      const { id } = runningContainer(store, r.containerId, "exec");
      if (r.cmd.length === 0) throw invalidArgument("exec: no command");
      const { tty, stdin, stdout, stderr } = r;
      return {
        url: (await server()).getExec({ containerId: id, command: r.cmd, tty, stdin, stdout, stderr }),
      };
    },
    async attach(r) {
      const { id } = runningContainer(store, r.containerId, "attach");
      const { tty, stdin, stdout, stderr } = r;
      return { url: (await server()).getAttach({ containerId: id, tty, stdin, stdout, stderr }) };
    },
    async portForward(r) {
      const pod = store.pod(r.podSandboxId);
      if (pod.state !== "ready") throw failedPrecondition(`sandbox container "${pod.id}" is not running`);
      return { url: (await server()).getPortForward({ podId: pod.id, ports: r.port }) };
    },
    async execSync(r, { call }) {
      if (r.cmd.length === 0) throw invalidArgument("exec: no command");
      return encodeResult(
        await runtime.execSync(r.containerId, r.cmd, Number(r.timeout) * 1000, call.signal),
      );
    },
  };
}

/** An ExecSyncResponse (stdout 1, stderr 2, exit_code 3) around its bytes, which may be many and are not copied. */
function encodeResult({ stdout, stderr, exitCode }: ExecSyncResult): EncodedMessage {
  const parts: Uint8Array[] = [];
  const field = (number: number, bytes: readonly Uint8Array[]): void => {
    const length = bytes.reduce((sum, each) => sum + each.length, 0);
    if (length > 0) parts.push(Uint8Array.from([(number << 3) | 2, ...varint(length)]), ...bytes);
  };
  field(1, stdout);
  field(2, stderr);
  if (exitCode !== 0) parts.push(Uint8Array.from([3 << 3, ...varint(exitCode)]));
  return new EncodedMessage(parts);
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

/** The configured key pair, or one made now, when TLS is on. @throws invalid-argument, not-found (a file) */
async function tls(
  config: ServerConfig,
): Promise<{ tls?: { cert: Uint8Array | string; key: Uint8Array | string } }> {
  const { tlsCertFile, tlsKeyFile, streamServerAddress } = config;
  if (!config.enableTlsStreaming) return {};
  if (tlsCertFile === "" && tlsKeyFile === "") {
    const { selfSigned } = await import("../../cri/streaming/self-signed.ts");
    return { tls: selfSigned([...new Set([streamServerAddress, "localhost", "127.0.0.1", hostname()])]) };
  }
  if (tlsCertFile === "" || tlsKeyFile === "")
    throw invalidArgument("x509_key_pair_streaming needs both tls_cert_file and tls_key_file");
  try {
    return { tls: { cert: readFileSync(tlsCertFile), key: readFileSync(tlsKeyFile) } };
  } catch (err) {
    throw wrap(err, "read the key pair for streaming");
  }
}
