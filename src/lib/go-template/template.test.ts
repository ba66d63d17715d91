import assert from "node:assert/strict";
import { test } from "node:test";
import { compileTemplate } from "./template.ts";
import type { Value } from "./values.ts";

const data: Value = {
  name: "web",
  n: 3,
  big: 1.5,
  ok: true,
  none: null,
  list: ["a", "b", "c"],
  empty: [],
  map: { b: "2", a: "1" },
  status: { state: "RUNNING", labels: { "io.k8s/app": "x" }, mounts: [{ path: "/a" }, { path: "/b" }] },
};
const run = (source: string): string => compileTemplate(source).execute(data);

const CASES: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["{{.name}}", "web"],
  ["{{ .status.state }}!", "RUNNING!"],
  ["{{.}}".replace(".", ".list"), "[a b c]"],
  ["{{.map}}", "map[a:1 b:2]"],
  ["{{.none}} {{.ok}} {{.n}} {{.big}}", "<nil> true 3 1.5"],
  ['{{index .status.labels "io.k8s/app"}}', "x"],
  ['{{index .status.labels "no"}}|{{with index .map "toString"}}x{{end}}', "<no value>|"],
  ["{{(index .status.mounts 1).path}}", "/b"],
  ["{{index .list 0}}{{len .list}}{{len .name}}", "a33"],
  ["{{range .list}}<{{.}}>{{end}}", "<a><b><c>"],
  ["{{range $i, $v := .list}}{{$i}}={{$v}},{{end}}", "0=a,1=b,2=c,"],
  ["{{range $k, $v := .map}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"],
  ["{{range .empty}}x{{else}}nothing{{end}}", "nothing"],
  ['{{range .list}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}', "a"],
  ['{{range .list}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}', "ac"],
  ["{{range .status.mounts}}{{.path}} {{$.name}}\n{{end}}", "/a web\n/b web\n"],
  ["{{if .ok}}yes{{else}}no{{end}}", "yes"],
  ["{{if .empty}}a{{else if gt .n 2}}b{{else}}c{{end}}", "b"],
  ["{{with .status}}{{.state}}{{end}}{{with .none}}x{{else}}-{{end}}", "RUNNING-"],
  ["{{with $x := .status}}{{$x.state}}{{end}}", "RUNNING"],
  ["{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"],
  ["{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"],
  ['{{printf "%s-%03d|%5.1f|%-4s|%q|%v" .name .n .big "x" .name .list}}', 'web-003|  1.5|x   |"web"|[a b c]'],
  ['{{printf "%d %s" "x" 1}}', "%!d(string=x) %!s(number=1)"],
  ['{{printf "%s"}}', "%!s(MISSING)"],
  ['{{.name | printf "%s:%s" "a"}}', "a:web"],
  ["{{.name | upper | lower | title}}", "Web"],
  ["{{json .map}}", '{"a":"1","b":"2"}\n'],
  ["{{json .status.mounts}}", '[{"path":"/a"},{"path":"/b"}]\n'],
  ["{{and .ok .name}} {{or .none .n}} {{not .ok}}", "web 3 false"],
  ["{{and .empty (index .empty 5)}}", "[]"],
  [
    '{{eq .name "x" "web"}} {{ne .n 3}} {{lt .n 4}} {{ge .big 1.5}} {{le "a" "b"}}',
    "true false true true true",
  ],
  ["a {{- .name -}} b", "awebb"],
  ["a\n{{- /* note */ -}}\n b", "ab"],
  ["{{/* only */}}x", "x"],
  ["{{\"a\\tb\\u00e9\"}}{{`\\n`}}{{'a'}}", "a\tbé\\n97"],
  ["{{slice .name 1}} {{slice .list 0 2}}", "eb [a b]"],
  ['{{print 1 2 "x" 3}}|{{println .name 1}}', "1 2x3|web 1\n"],
  ['{{html "<a href=\'x\'>"}} {{urlquery "a b&c"}}', "&lt;a href=&#39;x&#39;&gt; a+b%26c"],
  ['{{join .list ","}} {{len (split "a b" " ")}}', "a,b,c 2"],
  ["{{range 3}}{{.}}{{end}}", "012"],
  ["{{true}} {{0x10}} {{-2}} {{1e3}}", "true 16 -2 1000"],
];

for (const [source, want] of CASES) test(JSON.stringify(source), () => assert.equal(run(source), want));

const WRONG: readonly (readonly [string, RegExp])[] = [
  ["{{.nope}}", /line 1: at <\.nope>: map has no entry for key "nope"/],
  ["\n\n{{.name.x}}", /line 3: at <\.name\.x>: can't evaluate field x in type string/],
  ["{{.none.x}}", /nil data; no entry for key "x"/],
  ["{{index .list 9}}", /index out of range: 9/],
  ["{{eq .name 1}}", /incompatible types for comparison/],
  ["{{if .ok}}x", /\{\{if\}\} without \{\{end\}\}/],
  ["{{end}}", /unexpected \{\{end\}\}/],
  ["{{.name", /unclosed action/],
  ["{{nofunc .}}", /function "nofunc" not defined/],
  ["{{$x}}", /undefined variable "\$x"/],
  ["{{range .list}}{{$y := 1}}{{end}}{{$y}}", /undefined variable "\$y"/],
  ["{{.name .n}}", /can't give argument to non-function/],
  ["{{.name | .n}}", /only a function can stand after a pipe/],
  ["{{nil}}", /nil is not a command/],
  ["{{and}}", /wrong number of args for and/],
  ["{{range $i, $v := 3}}{{end}}", /can't use 3 to iterate over more than one variable/],
  ["{{break}}", /outside \{\{range\}\}/],
  ['{{define "x"}}{{end}}', /not supported/],
  ["{{}}", /missing value/],
  ["{{(.name}}", /unclosed left paren/],
  ["{{range .name}}{{end}}", /range can't iterate over web/],
  ['{{"abc}}', /unterminated string/],
];

for (const [source, want] of WRONG)
  test(`error: ${JSON.stringify(source)}`, () => assert.throws(() => run(source), want));
