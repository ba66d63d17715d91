import assert from "node:assert/strict";
import { test } from "node:test";
import { renderTemplate } from "./template.ts";

const data = { PodCIDR: "10.0.0.0/24", PodCIDRRanges: ["10.0.0.0/24", "fd00::/64"], Routes: ["0.0.0.0/0"] };

test("fields, ranges with index and value, conditions, trimming", () => {
  assert.equal(renderTemplate('{"subnet":"{{.PodCIDR}}"}', data), '{"subnet":"10.0.0.0/24"}');
  assert.equal(
    renderTemplate(
      '[{{range $i, $r := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet":"{{$r}}"}]{{end}}]',
      data,
    ),
    '[[{"subnet":"10.0.0.0/24"}], [{"subnet":"fd00::/64"}]]',
  );
  assert.equal(
    renderTemplate("{{range .Routes}}{{.}} {{$.PodCIDR}};{{end}}", data),
    "0.0.0.0/0 10.0.0.0/24;",
  );
  assert.equal(renderTemplate("a {{- /* note */ -}} b {{ index .PodCIDRRanges 1 }}", data), "ab fd00::/64");
  assert.equal(renderTemplate("{{if .PodCIDR}}yes{{else}}no{{end}}", { ...data, PodCIDR: "" }), "no");
});

test("what is not understood is refused", () => {
  for (const bad of [
    "{{.Nothing}}",
    "{{range .Routes}}",
    "{{end}}",
    "{{ .PodCIDR",
    "{{printf .PodCIDR}}",
    "{{else}}",
  ])
    assert.throws(() => renderTemplate(bad, data), /network template/, bad);
});
