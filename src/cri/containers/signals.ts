/** Signals by name and number: images write `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`; CRI has an enumeration. */
import { constants } from "node:os";
import type { Signal } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";

/** Names in the order of CRI's enumeration, from 1; real-time signals follow. */
const CRI_NAMES = [
  ..."ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM".split(
    " ",
  ),
  ..."TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN".split(" "),
];
const RTMIN = 34;
const RTMAX = 64;
/** Names that Node does not have. */
const MORE: Readonly<Record<string, number>> = { CLD: 17, IO: 29, POLL: 29, STKFLT: 16, PWR: 30 };

/** Number of a signal. @throws invalid-argument */
export function signalNumber(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  if (/^\d{1,2}$/.test(name)) {
    const number = Number(name);
    if (number >= 1 && number <= RTMAX) return number;
  }
  const known = (constants.signals as Readonly<Record<string, number>>)[`SIG${name}`] ?? MORE[name];
  if (known !== undefined) return known;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realTime !== null) {
    const distance = Number(realTime[3] ?? 0);
    const number = realTime[1] === "MIN" ? RTMIN + distance : RTMAX - distance;
    if (number >= RTMIN && number <= RTMAX) return number;
  }
  throw invalidArgument(`unknown signal "${text}"`);
}

/** What stops a container: CRI's signal, else the image's, else SIGTERM. An image's nonsense counts as none. */
export function signalName(asked: Signal, ofImage: string): string {
  const number: number = asked;
  if (number > 0) return criName(number);
  if (ofImage === "") return "SIGTERM";
  try {
    signalNumber(ofImage);
    return ofImage;
  } catch {
    return "SIGTERM";
  }
}

/** Name of CRI's enumeration value. @throws invalid-argument */
export function criName(value: number): string {
  const plain = CRI_NAMES[value - 1];
  if (plain !== undefined) return `SIG${plain}`;
  // 36 is RTMIN+1 ... 50 is RTMIN+15, 51 is RTMAX-14 ... 64 is RTMAX-1, 65 is RTMAX
  if (value >= 36 && value <= 50) return `SIGRTMIN+${value - 35}`;
  if (value >= 51 && value <= 64) return `SIGRTMAX-${65 - value}`;
  if (value === 65) return "SIGRTMAX";
  throw invalidArgument(`unknown stop signal ${value}`);
}

/** CRI's enumeration value of a signal; 0 when it has none. */
export function criSignal(text: string): number {
  let number: number;
  try {
    number = signalNumber(text);
  } catch {
    return 0;
  }
  for (let value = 1; value <= 65; value++)
    if (signalNumber(criName(value)) === number && value !== 5) return value;
  return 0;
}
