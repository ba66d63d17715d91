/**
 * Holds the generated descriptors against the committed list of the API and, where the wire facts the definitions were
 * written from are at hand (beside the repository), against those.
 */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { describeApi, loadGenerated } from "../../scripts/lib/api-golden.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const FACTS = resolve(ROOT, "../shared/facts/wire.txt");

const lines = describeApi(await loadGenerated(join(ROOT, "src/api/gen")));

/** The facts, in the lines of the golden list. Throws on a line it cannot read, so that nothing is left out unseen. */
function factLines(text: string): string[] {
  const out: string[] = [];
  let pkg = "";
  let kind = "";
  let type = "";
  for (const line of text.split("\n")) {
    const fact = line.trim();
    if (fact === "" || fact.startsWith("#") || fact === "(no fields)") continue;
    const packageLine = /^package (\S+)/.exec(line);
    const typeLine = /^ {2}(service|enum|message) (\S+)$/.exec(line);
    const method = /^(\w+)\s+(\(.*\) -> \(.*\))$/.exec(fact);
    const field = /^(\d+)\s+(\w+)\s+(\S.*)$/.exec(fact);
    const reserved = /^reserved (\d+)$/.exec(fact);
    if (packageLine !== null) {
      pkg = packageLine[1] ?? "";
    } else if (typeLine !== null) {
      kind = typeLine[1] ?? "";
      type = `${pkg}.${typeLine[2]}`;
      if (kind === "message") out.push(`message ${type}`);
    } else if (kind === "service" && method !== null) {
      out.push(`method ${type}/${method[1]} ${method[2]}`);
    } else if (kind === "enum") {
      for (const value of fact.split(/,\s*/)) {
        const [name, number] = value.split("=");
        out.push(`value ${type} ${number} ${name}`);
      }
    } else if (kind === "message" && reserved !== null) {
      out.push(`reserved ${type} ${reserved[1]}`);
    } else if (kind === "message" && field !== null) {
      out.push(`field ${type} ${field[1]} ${field[2]} ${field[3]?.replace(/\s+/g, " ")}`);
    } else {
      throw new Error(`read wire facts: ${JSON.stringify(line)}: unknown form`);
    }
  }
  return out;
}

/** Lines of one list that the other lacks, so that a failure names them and not thousands of equal ones. */
function missing(from: readonly string[], list: readonly string[]): string[] {
  const known = new Set(list);
  return from.filter((line) => !known.has(line));
}

test("descriptors are what golden.txt says", () => {
  const golden = readFileSync(join(ROOT, "src/api/golden.txt"), "utf8").trimEnd().split("\n");
  assert.deepEqual(missing(golden, lines), [], "in golden.txt, not in the descriptors");
  assert.deepEqual(missing(lines, golden), [], "in the descriptors, not in golden.txt");
  assert.deepEqual(lines, golden);
});

test("descriptors are what the wire facts say", { skip: !existsSync(FACTS) }, () => {
  const facts = factLines(readFileSync(FACTS, "utf8"));
  // The health service is gRPC's own, traces are OpenTelemetry's: not among the facts.
  const ours = lines.filter((line) => !/ (grpc\.health\.v1|opentelemetry\.proto\.)/.test(line));
  assert.deepEqual(missing(facts, ours), [], "in the facts, not in the descriptors");
  assert.deepEqual(missing(ours, facts), [], "in the descriptors, not in the facts");
  assert.equal(ours.length, facts.length);
});
