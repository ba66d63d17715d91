/**
 * A certificate of our own for the streaming server, when TLS is wanted and no key pair is configured. X.509 version 3 (RFC 5280)
 * in DER, ECDSA with P-256; clients must be told to trust it, or not to look.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";

/** A certificate and its key as PEM. */
export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

/** How long it is valid: longer than any daemon runs. Milliseconds. */
const VALID_MS = 365 * 86_400_000;

const ECDSA_SHA256 = "2a8648ce3d040302";
const COMMON_NAME = "550403";
const SUBJECT_ALT_NAME = "551d11";
const BASIC_CONSTRAINTS = "551d13";
const KEY_USAGE = "551d0f";
const EXT_KEY_USAGE = "551d25";
const SERVER_AUTH = "2b06010505070301";

/** @param names DNS names and addresses that clients may ask for */
export function selfSigned(names: readonly string[], now: Date = new Date()): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = seq(oid(ECDSA_SHA256));
  const name = seq(der(0x31, seq(oid(COMMON_NAME), der(0x0c, Buffer.from("gantry streaming")))));
  const serial = randomBytes(16);
  // positive, and not zero
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const alternative = names.map((each) =>
    isIP(each) === 0 ? der(0x82, Buffer.from(each)) : der(0x87, addressBytes(each)),
  );
  const body = seq(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    algorithm,
    name,
    seq(time(new Date(now.getTime() - 3_600_000)), time(new Date(now.getTime() + VALID_MS))),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(
      0xa3,
      seq(
        extension(BASIC_CONSTRAINTS, seq(der(0x01, Buffer.from([0xff]))), true),
        // signatures of the key and of certificates
        extension(KEY_USAGE, der(0x03, Buffer.from([2, 0x84])), true),
        extension(EXT_KEY_USAGE, seq(oid(SERVER_AUTH))),
        extension(SUBJECT_ALT_NAME, seq(...alternative)),
      ),
    ),
  );
  const signature = sign("sha256", body, privateKey);
  const cert = seq(body, algorithm, der(0x03, Buffer.concat([Buffer.from([0]), signature])));
  return {
    cert: pem("CERTIFICATE", cert),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function der(tag: number, content: Uint8Array): Buffer {
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

function seq(...parts: readonly Uint8Array[]): Buffer {
  return der(0x30, Buffer.concat(parts));
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

function extension(id: string, value: Buffer, critical = false): Buffer {
  return seq(oid(id), ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value));
}

/** GeneralizedTime, YYYYMMDDHHMMSSZ; before 2050 UTCTime, without the century, must be used. */
function time(at: Date): Buffer {
  const text = at.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  return at.getUTCFullYear() < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}

function addressBytes(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split(".").map(Number));
  const [head = "", tail] = address.split("::");
  const groups = (text: string): string[] => text.split(":").filter(Boolean);
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const all = [...before, ...Array<string>(8 - before.length - after.length).fill("0"), ...after];
  return Buffer.from(
    all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  );
}

function pem(label: string, bytes: Buffer): string {
  const lines = bytes.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
