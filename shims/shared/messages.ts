/** The messages a shim exchanges, as tables (see wire.ts for why). Names and numbers are the API's. */
import {
  bool,
  bytes,
  type Fields,
  int32,
  int64,
  type MessageInit,
  type MessageType,
  message,
  messages,
  nested,
  string,
  stringMap,
  strings,
  uint32,
} from "./wire.ts";

export const Any = message("google.protobuf.Any", { typeUrl: string(1), value: bytes(2) });
export const Timestamp = message("google.protobuf.Timestamp", { seconds: int64(1), nanos: int32(2) });
export const Empty = message("google.protobuf.Empty", {});

export const Mount = message("containerd.types.Mount", {
  type: string(1),
  source: string(2),
  target: string(3),
  options: strings(4),
});

export const Envelope = message("containerd.types.Envelope", {
  timestamp: nested(1, Timestamp),
  namespace: string(2),
  topic: string(3),
  event: nested(4, Any),
});
export type EnvelopeInit = MessageInit<(typeof Envelope)["fields"]>;
export const ForwardRequest = message("containerd.services.events.ttrpc.v1.ForwardRequest", {
  envelope: nested(1, Envelope),
});

const event = <const F extends Fields>(name: string, fields: F): MessageType<F> =>
  message(`containerd.events.${name}`, fields);
const container = { containerId: string(1) };
export const TaskIO = event("TaskIO", {
  stdin: string(1),
  stdout: string(2),
  stderr: string(3),
  terminal: bool(4),
});
export const TaskCreate = event("TaskCreate", {
  ...container,
  bundle: string(2),
  rootfs: messages(3, Mount),
  io: nested(4, TaskIO),
  checkpoint: string(5),
  pid: uint32(6),
});
export const TaskStart = event("TaskStart", { ...container, pid: uint32(2) });
export const TaskDelete = event("TaskDelete", {
  ...container,
  pid: uint32(2),
  exitStatus: uint32(3),
  exitedAt: nested(4, Timestamp),
  id: string(5),
});
export const TaskExit = event("TaskExit", {
  ...container,
  id: string(2),
  pid: uint32(3),
  exitStatus: uint32(4),
  exitedAt: nested(5, Timestamp),
});
export const TaskOOM = event("TaskOOM", container);
export const TaskExecAdded = event("TaskExecAdded", { ...container, execId: string(2) });
export const TaskExecStarted = event("TaskExecStarted", { ...container, execId: string(2), pid: uint32(3) });
export const TaskPaused = event("TaskPaused", container);
export const TaskResumed = event("TaskResumed", container);
export const TaskCheckpointed = event("TaskCheckpointed", { ...container, checkpoint: string(2) });

/** The task service's messages; version 2 and 3 have the same in two packages. Named as in version 3. */
const task = <const F extends Fields>(name: string, fields: F): MessageType<F> =>
  message(`containerd.task.v3.${name}`, fields);
const byId = { id: string(1) };
const byExec = { id: string(1), execId: string(2) };
export const ByIdRequest = task("PauseRequest", byId);
export const ByExecRequest = task("StateRequest", byExec);
export const CreateTaskRequest = task("CreateTaskRequest", {
  ...byId,
  bundle: string(2),
  rootfs: messages(3, Mount),
  terminal: bool(4),
  stdin: string(5),
  stdout: string(6),
  stderr: string(7),
  checkpoint: string(8),
  parentCheckpoint: string(9),
  options: nested(10, Any),
});
export const PidResponse = task("StartResponse", { pid: uint32(1) });
export const DeleteResponse = task("DeleteResponse", {
  pid: uint32(1),
  exitStatus: uint32(2),
  exitedAt: nested(3, Timestamp),
});
export const ExecProcessRequest = task("ExecProcessRequest", {
  ...byExec,
  terminal: bool(3),
  stdin: string(4),
  stdout: string(5),
  stderr: string(6),
  spec: nested(7, Any),
});
export const ResizePtyRequest = task("ResizePtyRequest", { ...byExec, width: uint32(3), height: uint32(4) });
export const StateResponse = task("StateResponse", {
  ...byId,
  bundle: string(2),
  pid: uint32(3),
  status: int32(4),
  stdin: string(5),
  stdout: string(6),
  stderr: string(7),
  terminal: bool(8),
  exitStatus: uint32(9),
  exitedAt: nested(10, Timestamp),
  execId: string(11),
});
export const KillRequest = task("KillRequest", { ...byExec, signal: uint32(3), all: bool(4) });
export const CloseIORequest = task("CloseIORequest", { ...byExec, stdin: bool(3) });
export const ProcessInfo = message("containerd.v1.types.ProcessInfo", {
  pid: uint32(1),
  info: nested(2, Any),
});
export const PidsResponse = task("PidsResponse", { processes: messages(1, ProcessInfo) });
export const CheckpointTaskRequest = task("CheckpointTaskRequest", {
  ...byId,
  path: string(2),
  options: nested(3, Any),
});
export const UpdateTaskRequest = task("UpdateTaskRequest", {
  ...byId,
  resources: nested(2, Any),
  annotations: stringMap(3),
});
export const WaitResponse = task("WaitResponse", { exitStatus: uint32(1), exitedAt: nested(2, Timestamp) });
export const StatsResponse = task("StatsResponse", { stats: nested(1, Any) });
export const ConnectResponse = task("ConnectResponse", {
  shimPid: uint32(1),
  taskPid: uint32(2),
  version: string(3),
});

export const Options = message("containerd.runc.v1.Options", {
  noPivotRoot: bool(1),
  noNewKeyring: bool(2),
  shimCgroup: string(3),
  ioUid: uint32(4),
  ioGid: uint32(5),
  binaryName: string(6),
  root: string(7),
  systemdCgroup: bool(9),
  criuImagePath: string(10),
  criuWorkPath: string(11),
});
export const CheckpointOptions = message("containerd.runc.v1.CheckpointOptions", {
  exit: bool(1),
  openTcp: bool(2),
  externalUnixSockets: bool(3),
  terminal: bool(4),
  fileLocks: bool(5),
  emptyNamespaces: strings(6),
  cgroupsMode: string(7),
  imagePath: string(8),
  workPath: string(9),
  parentPath: string(10),
});
export const ProcessDetails = message("containerd.runc.v1.ProcessDetails", { execId: string(1) });

export const Extension = message("containerd.runtime.bootstrap.v1.Extension", { value: nested(1, Any) });
export const BootstrapParams = message("containerd.runtime.bootstrap.v1.BootstrapParams", {
  instanceId: string(1),
  namespace: string(2),
  logLevel: int32(3),
  containerdVersion: string(4),
  containerdTtrpcAddress: string(5),
  containerdGrpcAddress: string(6),
  containerdBinary: string(7),
  extensions: messages(8, Extension),
  socketDir: string(9),
});
export const BootstrapResult = message("containerd.runtime.bootstrap.v1.BootstrapResult", {
  version: int32(1),
  address: string(2),
  protocol: string(3),
});

export const RuntimeVersion = message("containerd.types.RuntimeVersion", {
  version: string(1),
  revision: string(2),
});
export const RuntimeInfo = message("containerd.types.RuntimeInfo", {
  name: string(1),
  version: nested(2, RuntimeVersion),
  options: nested(3, Any),
  features: nested(4, Any),
});
