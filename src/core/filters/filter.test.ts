import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { codeOf } from "../errors.ts";
import { mapField } from "./adaptors.ts";
import { type Adaptor, absent, compileFilters } from "./filter.ts";

interface Entry {
  readonly name: string;
  readonly other?: string;
  readonly labels?: Record<string, string>;
}

const entries: readonly Entry[] = [
  { name: "foo", labels: { foo: "true" } },
  { name: "bar" },
  { name: "foo", labels: { foo: "present", "more complex label": "present" } },
  { name: "bar", labels: { bar: "true" } },
  { name: "fooer", labels: { 'complex \\ and "': "present" } },
  { name: "fooer", labels: { 'complex \\ and ".post': "present" } },
  { name: "baz", other: "too complex, yo" },
  { name: "bazo", other: "abc" },
  { name: "compound", labels: { foo: "omg_asdf.asdf-qwer", "a.b/c": "ü" } },
];

function adapt(entry: Entry): Adaptor {
  return ([field, ...rest]) => {
    if (field === "labels") return mapField(new Map(Object.entries(entry.labels ?? {})), rest);
    const value = field === "name" ? entry.name : field === "other" ? (entry.other ?? "") : "";
    return value === "" ? absent : { value, present: true };
  };
}

function matching(...filters: string[]): number[] {
  const match = compileFilters(filters);
  return entries.flatMap((entry, i) => (match(adapt(entry)) ? [i] : []));
}

const everything = entries.map((_, i) => i);

describe("filters", () => {
  const cases: [filters: string[], want: number[]][] = [
    [[], everything],
    [[""], everything],
    [["name==foo", ""], everything],
    [["name"], everything],
    [["labels.foo"], [0, 2, 8]],
    [["labels.foo,name"], [0, 2, 8]],
    [["labels.foo==true"], [0]],
    [["labels.foo == true"], [0]],
    [["labels.foo==omg_asdf.asdf-qwer"], [8]],
    [["name==bar"], [1, 3]],
    [["name!=bar"], [0, 2, 4, 5, 6, 7, 8]],
    [["labels.foo!=true"], [1, 2, 3, 4, 5, 6, 7, 8]],
    [["name==bar,labels.bar"], [3]],
    [['other=="too complex, yo"'], [6]],
    [["other~=[abc]+,name!=foo"], [6, 7]],
    [["other~=/[abc]+/,name!=foo"], [6, 7]],
    [["other~=|^a.c$|"], [7]],
    [["other~=/[abc]{1,2}/,name!=foo"], [6, 7]],
    [['other~=/[abc]{0,1}"\\//,name!=foo'], []],
    [["name~=(?i)^FOO"], [0, 2, 4, 5]],
    [["name~=^[[:alpha:]]{3}$"], [0, 1, 2, 3, 6]],
    [["name~=\\Afoo\\z"], [0, 2]],
    [["name==bar,labels.bar==true"], [3]],
    [["name==bar,labels.bar==wrong"], []],
    [['name==foo,labels."more complex label"'], [2]],
    [['labels."complex \\\\ and \\""==present'], [4]],
    [['labels."complex \\\\ and \\"".post==present'], [5]],
    [['labels."a.b/c"=="\\u00fc"'], [8]],
    [['labels.a."b/c"=="\\xc3\\xbc"'], [8]],
    [['labels.a."b/c"==ü'], [8]],
    [['name=="\\146oo"'], [0, 2]],
    [
      ["name==foo", "name==baz"],
      [0, 2, 6],
    ],
    [["missing"], []],
    [["missing.deeper==x"], []],
    [['missing!=""'], []],
    [["missing~=/.*/"], everything],
    [['name==""'], []],
  ];
  for (const [filters, want] of cases)
    test(JSON.stringify(filters), () => assert.deepEqual(matching(...filters), want));

  const errors: [filter: string, text: string][] = [
    ["labels.|foo|==x", "filters: parse error: [labels. >|||< foo|==x]: invalid quote encountered"],
    ['labels.?"a".post==x', 'filters: parse error: [labels. >|?|< "a".post==x]: expected field or quoted'],
    ["name==foo,", "filters: parse error: [name==foo,]: expected field or quoted"],
    ["labels.", "filters: parse error: [labels.]: expected field or quoted"],
    ["image~=,id?=?fbaq", "filters: parse error: [image~= >|,|< id?=?fbaq]: expected value or quoted"],
    [
      "labels.ns/key==value",
      "filters: parse error: [labels.ns >|/|< key==value]: quoted literal not terminated",
    ],
    ["labels.key==/value", "filters: parse error: [labels.key== >|/|< value]: quoted literal not terminated"],
    ["name=foo", 'filters: parse error: [name >|=|< foo]: unsupported operator "="'],
    ["name==", "filters: parse error: [name==]: expected value or quoted"],
    ['name=="\\q"', 'filters: parse error: [name== >|"|< \\q"]: illegal escape sequence'],
    ['name=="\\xg0"', 'filters: parse error: [name== >|"|< \\xg0"]: illegal numeric escape sequence'],
    ["na\0me", "filters: parse error: [na >|\0|< me]: unexpected null"],
    ["name~=(", "filters: parse error: [name~=(]: error parsing regexp: missing closing ): `(`"],
    [
      "name~=a(?=b)",
      "filters: parse error: [name~=a(?=b)]: error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
    ],
    ["==x", "filters: parse error: [ >|=|< =x]: expected field or quoted"],
    ["name==a b", "filters: parse error: [name==a >| |< b]: unexpected input:  "],
  ];
  for (const [filter, text] of errors) {
    test(`refused: ${JSON.stringify(filter)}`, () => {
      assert.throws(
        () => compileFilters(["name", filter]),
        (err: unknown) => {
          assert.equal(codeOf(err), "invalid-argument");
          assert.equal((err as Error).message, text);
          return true;
        },
      );
    });
  }

  test("any input either compiles or is refused", () => {
    const alphabet = [
      "a",
      ".",
      ",",
      "=",
      "!",
      "~",
      '"',
      "/",
      "|",
      "\\",
      " ",
      "x",
      "1",
      "ü",
      "\n",
      "?",
      "(",
      "😀",
    ];
    let seed = 1;
    for (let i = 0; i < 20_000; i++) {
      let text = "";
      for (let n = 0; n < 12; n++) {
        seed = (seed * 1103515245 + 12345) % 2147483648;
        text += alphabet[seed % alphabet.length];
      }
      try {
        compileFilters([text])(adapt(entries[8] as Entry));
      } catch (err) {
        assert.equal(codeOf(err), "invalid-argument", text);
      }
    }
  });
});
