import type { CommandSpec } from "../command.ts";

import { DEBUG_SOCKET } from "../debug-socket.ts";

const load = () => import("../verbs/pprof.ts");

const socket = {
  flag: "-d, --debug-socket <path>",
  about: `socket path for the server's debug interface (default: "${DEBUG_SOCKET}")`,
};
const debug = { flag: "--debug <level>", about: "detail of the dump" };

export const pprof: CommandSpec = {
  name: "pprof",
  about: "provide golang pprof outputs for containerd",
  flags: [socket],
  commands: [
    {
      name: "block",
      about: "goroutine blocking profile",
      flags: [socket, debug],
      action: async () => (await load()).block,
    },
    {
      name: "goroutines",
      about: "the calls that the server runs, and since when",
      flags: [socket, debug],
      action: async () => (await load()).goroutines,
    },
    {
      name: "heap",
      about: "dump heap profile (a .heapsnapshot document)",
      flags: [socket, debug],
      examples: ["ctr pprof heap > daemon.heapsnapshot"],
      action: async () => (await load()).heap,
    },
    {
      name: "profile",
      about: "CPU profile (a .cpuprofile document)",
      flags: [
        socket,
        { flag: "-s, --seconds <duration>", about: "duration for collection", fallback: "30s" },
        debug,
      ],
      examples: ["ctr pprof profile -s 5s > daemon.cpuprofile"],
      action: async () => (await load()).cpu,
    },
    {
      name: "threadcreate",
      about: "goroutine thread creating profile",
      flags: [socket, debug],
      action: async () => (await load()).threadcreate,
    },
    {
      name: "trace",
      about: "collect execution trace",
      flags: [socket, { flag: "-s, --seconds <duration>", about: "trace time", fallback: "5s" }, debug],
      action: async () => (await load()).trace,
    },
  ],
};
