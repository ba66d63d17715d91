const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/** A size as containerd's tools print it: one decimal and an IEC unit, "54.1 MiB"; below 1 KiB "12 B" -> "12.0 B". */
export function formatSize(bytes: number | bigint): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1024 && unit < IEC.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${IEC[unit] ?? ""}`;
}

const SI = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** A size as Docker and crictl print it: powers of 1000, `digits` significant digits, "54.1MB". */
export function formatSizeSi(bytes: number | bigint, digits = 3): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1000 && unit < SI.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${Number(value.toPrecision(digits))}${SI[unit] ?? ""}`;
}

const SIZE_UNITS: ReadonlyMap<string, bigint> = new Map([
  ["", 1n],
  ["b", 1n],
  ["k", 1n << 10n],
  ["kb", 1n << 10n],
  ["kib", 1n << 10n],
  ["m", 1n << 20n],
  ["mb", 1n << 20n],
  ["mib", 1n << 20n],
  ["g", 1n << 30n],
  ["gb", 1n << 30n],
  ["gib", 1n << 30n],
  ["t", 1n << 40n],
  ["tb", 1n << 40n],
  ["tib", 1n << 40n],
]);

/**
 * Bytes of a size such as "64m", "1.5GiB", "4096"; units are powers of 1024 whatever their spelling, as in Docker flags.
 * @throws SyntaxError on anything else
 */
export function parseSize(text: string): bigint {
  const match = /^([0-9]+)(?:\.([0-9]+))?\s*([a-zA-Z]*)$/.exec(text.trim());
  const unit = SIZE_UNITS.get((match?.[3] ?? "").toLowerCase());
  if (match === null || unit === undefined) throw new SyntaxError(`parse size "${text}": invalid`);
  const fraction = match[2] ?? "";
  return (
    BigInt(match[1] ?? "0") * unit +
    (fraction === "" ? 0n : (BigInt(fraction) * unit) / 10n ** BigInt(fraction.length))
  );
}

const NS: ReadonlyMap<string, bigint> = new Map([
  ["ns", 1n],
  ["us", 1_000n],
  ["µs", 1_000n],
  ["μs", 1_000n],
  ["ms", 1_000_000n],
  ["s", 1_000_000_000n],
  ["m", 60_000_000_000n],
  ["h", 3_600_000_000_000n],
]);

/**
 * Nanoseconds of a duration in Go's notation: "1m30s", "-1.5h", "300ms", "0".
 * @throws SyntaxError on anything else (a bare number other than 0 has no unit)
 */
export function parseDuration(text: string): bigint {
  const body = /^[+-]/.test(text) ? text.slice(1) : text;
  if (body === "0") return 0n;
  const part = /([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)/y;
  let total = 0n;
  let at = 0;
  while (at < body.length) {
    part.lastIndex = at;
    const match = part.exec(body);
    const whole = match?.[1] ?? "";
    const fraction = match?.[2] ?? "";
    const unit = NS.get(match?.[3] ?? "");
    if (match === null || unit === undefined || whole + fraction === "") {
      throw new SyntaxError(`time: invalid duration ${JSON.stringify(text)}`);
    }
    total += BigInt(whole === "" ? "0" : whole) * unit;
    if (fraction !== "") total += (BigInt(fraction) * unit) / 10n ** BigInt(fraction.length);
    at = part.lastIndex;
  }
  if (at === 0) throw new SyntaxError(`time: invalid duration ${JSON.stringify(text)}`);
  return text.startsWith("-") ? -total : total;
}

/** A duration in nanoseconds in Go's notation: "1m30s", "1.5ms", "0s". */
export function formatDuration(ns: bigint): string {
  if (ns === 0n) return "0s";
  if (ns < 0n) return `-${formatDuration(-ns)}`;
  if (ns < 1_000n) return `${ns}ns`;
  if (ns < 1_000_000n) return `${decimal(ns, 1_000n)}µs`;
  if (ns < 1_000_000_000n) return `${decimal(ns, 1_000_000n)}ms`;
  const hours = ns / 3_600_000_000_000n;
  const minutes = (ns / 60_000_000_000n) % 60n;
  const seconds = `${decimal(ns % 60_000_000_000n, 1_000_000_000n)}s`;
  if (hours > 0n) return `${hours}h${minutes}m${seconds}`;
  if (minutes > 0n) return `${minutes}m${seconds}`;
  return seconds;
}

function decimal(value: bigint, unit: bigint): string {
  const rest = value % unit;
  if (rest === 0n) return String(value / unit);
  const digits = String(unit).length - 1;
  return `${value / unit}.${String(rest).padStart(digits, "0").replace(/0+$/, "")}`;
}

/** Age as Docker and crictl print it: "Less than a second", "3 minutes", "About an hour", "2 weeks". */
export function formatAge(ns: bigint): string {
  const seconds = Number(ns / 1_000_000_000n);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 14) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 60) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 730) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}
