/** Commands that stream. */
import type { CommandSpec } from "../command.ts";
import * as flags from "./flags.ts";

export const streaming: readonly CommandSpec[] = [
  {
    name: "exec",
    args: "[id-or-command] [args...]",
    about:
      "run a command in a running container\n\nThe container's id comes first, unless --image, --label, --last, --latest, --name, --pod or --state pick containers.",
    flags: [
      { flag: "-i, --interactive", about: "send stdin" },
      { flag: "-t, --tty", about: "give the command a terminal" },
      { flag: "-s, --sync", about: "run without streams; output comes at the end" },
      { flag: "--timeout <seconds>", about: "longest time of the command with --sync" },
      { flag: "--name <regexp>", about: "in all containers of this name" },
      { flag: "-p, --pod <id>", about: "in all containers of this pod" },
      { flag: "--image <image>", about: "in all containers of this image" },
      { flag: "--state <state>", about: "in all containers in this state" },
      { flag: "--label <key=value>", about: "in all containers with this label", many: true },
      { flag: "-l, --latest", about: "in the most recently created container" },
      { flag: "-n, --last <n>", about: "in the last n created containers (0 for all)" },
      { flag: "-q, --quiet", about: "do not print the ids of several containers" },
      { flag: "-e, --ignore-errors", about: "exit with 0 also when the command fails" },
      { flag: "-x, --parallel", about: "in several containers at once" },
      ...flags.transport,
    ],
    passThrough: true,
    examples: [
      "crictl exec -it ID sh",
      "crictl exec ID cat /etc/hostname",
      "crictl exec --name '^web' -q nginx -t",
      "crictl exec -s --timeout 5 ID ls",
    ],
    action: async () => (await import("../verbs/exec.ts")).exec,
  },
  {
    name: "attach",
    args: "[id]",
    about: "attach to a running container; ctrl-p ctrl-q leaves it running",
    flags: [
      { flag: "-i, --stdin", about: "send stdin" },
      { flag: "-t, --tty", about: "the container has a terminal" },
      ...flags.transport,
    ],
    examples: ["crictl attach -it ID"],
    action: async () => (await import("../verbs/exec.ts")).attach,
  },
  {
    name: "port-forward",
    args: "[pod] [ports...]",
    about: "forward local ports to a pod",
    flags: [...flags.transport],
    examples: ["crictl port-forward POD-ID 8080:80", "crictl port-forward POD-ID :80 5432"],
    action: async () => (await import("../verbs/port-forward.ts")).portForward,
  },
];
