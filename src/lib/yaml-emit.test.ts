import assert from "node:assert/strict";
import { test } from "node:test";
import { parse } from "yaml";
import { emitYaml, type Json } from "./yaml-emit.ts";

test("the style of Kubernetes' tools", () => {
  const value = { b: [{ y: 1, x: "2" }, "z"], a: { empty: {}, none: [], nil: null }, text: "one\ntwo\n" };
  assert.equal(
    emitYaml(value),
    `a:
  empty: {}
  nil: null
  none: []
b:
- x: "2"
  "y": 1
- z
text: |
  one
  two
`,
  );
});

const TEXTS = [
  "",
  " a",
  "a ",
  "a: b",
  "a:",
  "a #b",
  "#x",
  "- x",
  "-x",
  "true",
  "No",
  "0x1f",
  "1_000",
  "1e3",
  "12:30",
];
TEXTS.push(
  "2026-01-02",
  "2026-01-02T03:04:05Z",
  "~",
  "=",
  "it's",
  '"q"',
  "*a",
  "{x}",
  "a\tb",
  "é",
  "\u0007",
  "👍",
);
TEXTS.push(
  "a\nb",
  "a\nb\n",
  "a\n\n",
  "\na",
  " a\nb",
  "a \nb",
  "k8s.io/x",
  "sha256:ab",
  "---",
  "%x",
  "@y",
  ".5",
  "007",
);

test("a reader gets back what was written", () => {
  for (const text of TEXTS) assert.equal(parse(emitYaml(text)), text, JSON.stringify(text));
  for (const text of TEXTS) {
    const nested: Json = { k: [text, { [text]: [text, [text, []]] }], l: { m: text } };
    assert.deepEqual(parse(emitYaml(nested)), nested, JSON.stringify(text));
    // readers of YAML 1.1 know more words that are no texts
    assert.deepEqual(parse(emitYaml(nested), { version: "1.1" }), nested, JSON.stringify(text));
  }
});
