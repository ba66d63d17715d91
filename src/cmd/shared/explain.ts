/** What clients say about an error: one line on what went wrong, one on what to do, whoever threw it. */
import { GantryError, isDeadlineExceeded, messageOf } from "../../core/errors.ts";
import { systemMessage } from "./system-message.ts";

/** The message; that of a system call as `open "/x": no such file or directory`. */
export function messageFor(err: unknown): string {
  if (err instanceof GantryError) return err.wireMessage;
  if (err instanceof Error && "syscall" in err && "code" in err) {
    const text = systemMessage(String(err.code));
    const path = "path" in err && typeof err.path === "string" ? ` ${JSON.stringify(err.path)}` : "";
    if (text !== undefined) return `${String(err.syscall)}${path}: ${text}`;
  }
  return messageOf(err);
}

/** Next steps for what the engine, ours or another one, says without any. First match wins. */
const NEXT: readonly (readonly [RegExp, string])[] = [
  [/container "[^"]*" in namespace "[^"]*": not found$/, "containers"],
  [/image "[^"]*"(?: in namespace "[^"]*")?: not found$/, "images"],
  [/snapshotter not loaded/, "snapshotters"],
  [/^snapshot \S+ does not exist|: snapshot \S+ does not exist/, "snapshots"],
  [/lease "[^"]*": not found$/, "leases"],
  [/namespace "[^"]*": not found$/, "namespaces"],
  [/content digest \S+: not found$/, "content"],
  [/vnd\.erofs\.layer\S*: no processor/, "erofs"],
  [/to http:\S+: 400 Bad Request/, "tls"],
  [/call to "[^"]*": connection closed/, "lost"],
  [/invalid tar header|not a tar|unrecognized archive/, "archive"],
];
const STEPS: Readonly<Record<string, string>> = {
  containers: "see ctr containers ls, or name another namespace with -n (ctr namespaces ls)",
  images: "see ctr images ls -q, or name another namespace with -n (ctr namespaces ls)",
  snapshotters: "ctr plugins ls type==io.containerd.snapshotter.v1 lists them",
  snapshots: "see ctr snapshots ls; another snapshotter's with --snapshotter, another namespace's with -n",
  leases: "see ctr leases ls, or name another namespace with -n",
  namespaces: "see ctr namespaces ls",
  content: "see ctr content ls, or name another namespace with -n; a pull fetches what is missing",
  erofs:
    'its layers are for the snapshotter erofs: --snapshotter erofs, with "erofs" first in default of the diff service',
  tls: "the registry may want TLS: leave out --plain-http",
  lost: "the engine ended meanwhile: systemctl status containerd; containers go on, see ctr tasks ls",
  archive: "want an archive of docker save, ctr images export, or an OCI layout as tar",
};

/** What to do next, where something is known. */
export function nextStep(err: unknown): string | undefined {
  if (err instanceof GantryError && err.hint !== undefined) return err.hint;
  if (err instanceof Error && "code" in err && (err.code === "EACCES" || err.code === "EPERM"))
    return process.geteuid?.() === 0 ? undefined : "run as root (sudo)";
  if (isDeadlineExceeded(err)) return "the time of --timeout was over";
  const text = messageFor(err);
  const step = NEXT.find(([pattern]) => pattern.test(text))?.[1];
  return step === undefined ? undefined : STEPS[step];
}
