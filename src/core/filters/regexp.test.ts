import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf } from "../errors.ts";
import { compileRegexp } from "./regexp.ts";

const matches = (source: string, text: string): boolean => compileRegexp(source).test(text);

test("what matches", () => {
  const yes: [string, string][] = [
    ["", ""],
    ["", "x"],
    ["a|", "b"],
    ["b", "abc"],
    ["^abc$", "abc"],
    ["a.c", "abc"],
    ["(?s)a.c", "a\nc"],
    ["(?m)^b$", "a\nb\nc"],
    ["a(?i)B", "ab"],
    ["a(?i:B)c", "abc"],
    ["(?i)straße", "STRAßE"],
    ["(?i)[a-c]+$", "xABC"],
    ["a{2,3}b", "aab"],
    ["a{2}b{0}c{1,}", "aacc"],
    ["a{,2}", "a{,2}"],
    ["x{1", "x{1"],
    ["(ab|cd)+e", "abcde"],
    ["(?P<n>a)(?<m>b)", "ab"],
    ["[]a]+$", "]a"],
    ["[^a-c]", "d"],
    ["[^a]", "\n"],
    ["[a-]-", "--"],
    ["[[:alpha:]_]+[[:^digit:]]$", "ab_c"],
    ["[\\d.]+$", "1.2"],
    ["\\w\\W\\s\\S\\D", "a! bc"],
    ["\\bfoo\\b", "a foo."],
    ["\\Bb", "ab"],
    ["\\Aab\\z", "ab"],
    ["\\Qa.b*\\E+c", "a.b**c"],
    ["\\x41\\x{1F600}\\101\\.\\_", "A😀A._"],
    ["\\p{Greek}\\pL\\PL\\p{^Lu}", "αä1b"],
    ["(a*)*$", "aaa"],
    ["(|a)+b", "b"],
    ["a*?b", "aab"],
    ["^(?:(?:a?){10}){10}$", "a".repeat(100)],
    ["ü", "ü"],
  ];
  for (const [source, text] of yes) assert.ok(matches(source, text), `${source} on ${JSON.stringify(text)}`);
});

test("what does not", () => {
  const no: [string, string][] = [
    ["a", ""],
    ["^b", "ab"],
    ["^b$", "a\nb"],
    ["a.c", "a\nc"],
    ["a(?i:b)C", "aBc"],
    ["(?i)a(?-i)b", "AB"],
    ["a{2,3}$", "a"],
    ["^a{2,3}$", "aaaa"],
    ["[^a-c]", "abc"],
    ["\\bfoo\\b", "food"],
    ["\\d", "٣"],
    ["\\pL", "1"],
    ["^(?:(?:a?){10}){10}$", "a".repeat(101)],
  ];
  for (const [source, text] of no) assert.ok(!matches(source, text), `${source} on ${JSON.stringify(text)}`);
});

test("what Go refuses is refused in its words", () => {
  const errors: [string, string][] = [
    ["(", "missing closing ): `(`"],
    ["a)", "unexpected ): `a)`"],
    ["[a", "missing closing ]: `[a`"],
    ["[z-a]", "invalid character class range: `z-a`"],
    ["[[:foo:]]", "invalid character class range: `[:foo:]`"],
    ["\\p{Nope}", "invalid character class range: `\\p{Nope}`"],
    ["*a", "missing argument to repetition operator: `*`"],
    ["a**", "invalid nested repetition operator: `**`"],
    ["a{1001}", "invalid repeat count: `{1001}`"],
    ["a{3,2}", "invalid repeat count: `{3,2}`"],
    ["(a{100}){11}", "invalid repeat count: `(a{100}){11}`"],
    ["(a)\\1", "invalid escape sequence: `\\1`"],
    ["\\k<n>", "invalid escape sequence: `\\k`"],
    ["\\x{110000}", "invalid escape sequence: `\\x{110000}`"],
    ["a\\", "trailing backslash at end of expression: ``"],
    ["(?=a)", "invalid or unsupported Perl syntax: `(?=`"],
    ["(?<!a)b", "invalid or unsupported Perl syntax: `(?<!`"],
    ["(?P<n>a)(?P<n>b)", "duplicate capture group name: `n`"],
  ];
  for (const [source, text] of errors)
    assert.throws(
      () => compileRegexp(source),
      (err: Error) => {
        assert.equal(codeOf(err), "invalid-argument");
        assert.equal(err.message, `error parsing regexp: ${text}`);
        return true;
      },
      source,
    );
  const large = `(?:${"a".repeat(100)}){900}`;
  assert.throws(() => compileRegexp(large), /expression too large/);
  assert.throws(() => compileRegexp("(".repeat(2000)), /nests too deeply|missing closing/);
});

test("steps grow with the text, whatever the expression: no input runs away", () => {
  const text = "a".repeat(4000);
  // a matcher that goes back would not end within the life of the machine
  for (const source of ["^(a+)+$!", "^(a|a)*b", "(a*)*b", "^(?:a?){500}a{400}b", "(x+x+)+y"])
    assert.equal(matches(source, text), false);
});

test("as JavaScript where both mean the same", () => {
  const pieces = ["a", "b", ".", "a*", "(a|b)", "b+", "[ab]", "^", "$", "a?", "|", "(?:ab)", "\\b"];
  const texts = ["", "a", "b", "ab", "ba", "aab", "bba", "abab", "a b", "bb aa"];
  let seed = 7;
  const next = (below: number): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * below);
  };
  for (let i = 0; i < 3000; i++) {
    const source = Array.from({ length: 1 + next(6) }, () => pieces[next(pieces.length)]).join("");
    const [ours, theirs] = [compileRegexp(source), new RegExp(source)];
    for (const text of texts) assert.equal(ours.test(text), theirs.test(text), `${source} on "${text}"`);
  }
});
