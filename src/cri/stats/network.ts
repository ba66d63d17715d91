import { readFileSync } from "node:fs";

/** Counters of one network interface. */
export interface InterfaceUse {
  readonly name: string;
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

/** Interfaces of the network namespace that a process is in, without the loopback; empty when it is gone. */
export function interfacesOf(pid: number): InterfaceUse[] {
  try {
    return parseNetDev(readFileSync(`/proc/${pid}/net/dev`, "utf8"));
  } catch {
    return [];
  }
}

/** Reads the text of /proc/PID/net/dev: two lines of titles, then "name: 8 numbers received, 8 sent". */
export function parseNetDev(text: string): InterfaceUse[] {
  const all: InterfaceUse[] = [];
  for (const line of text.split("\n").slice(2)) {
    const colon = line.indexOf(":");
    if (colon < 0) continue;
    const name = line.slice(0, colon).trim();
    const numbers = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/);
    if (name === "lo" || numbers.length < 12 || !numbers.every((n) => /^\d+$/.test(n))) continue;
    const at = (index: number): bigint => BigInt(numbers[index] ?? "0");
    all.push({
      name,
      rxBytes: at(0),
      rxPackets: at(1),
      rxErrors: at(2),
      rxDropped: at(3),
      txBytes: at(8),
      txPackets: at(9),
      txErrors: at(10),
      txDropped: at(11),
    });
  }
  return all;
}

/** The interface the pod's address is on: eth0, else the first. */
export function mainInterface(all: readonly InterfaceUse[]): InterfaceUse | undefined {
  return all.find((each) => each.name === "eth0") ?? all[0];
}
