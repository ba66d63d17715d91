import { createFdSink, readFd } from "../../platform/fs/fd-stream.ts";
import { connectInNetns } from "../../platform/net/netns-connect.ts";
import { close } from "../../platform/syscalls/files.ts";
import { shutdownWrite } from "../../platform/syscalls/tcp.ts";
import type { ByteSink, ByteSource, ForwardedConnection } from "./runtime.ts";

/**
 * Forwards one connection to a port of the loopback inside a network namespace (a pod's, or /proc/self/ns/net for pods of the
 * host's network), IPv4 first, until both directions ended or the client left.
 * @param netns path of the namespace
 * @throws Error naming the port, the namespace and both reasons when nothing listens
 */
export async function forwardIntoNetns(
  netns: string,
  port: number,
  connection: ForwardedConnection,
): Promise<void> {
  const { signal } = connection;
  const fd = await connectInNetns(netns, port, { signal });
  // Our number, which another file may get as soon as it is closed.
  let held = true;
  try {
    // Not waited for: once the pod said all, what the client still sends goes nowhere, and its source ends with the session.
    void upload(fd, connection.source, signal).then(
      // The answer may go on after the question ended.
      () => held && shutdownWrite(fd),
      // The pod reads no more; it may still have something to say.
      () => {},
    );
    await download(fd, connection.sink, signal);
  } finally {
    held = false;
    shutdownWrite(fd);
    close(fd);
  }
}

async function upload(fd: number, source: ByteSource, signal: AbortSignal): Promise<void> {
  const sink = createFdSink(fd);
  try {
    for await (const chunk of source) await sink.write(chunk);
  } finally {
    await sink.close(signal.aborted);
  }
}

async function download(fd: number, sink: ByteSink, signal: AbortSignal): Promise<void> {
  for await (const chunk of readFd(fd, signal)) await sink.write(chunk);
}
