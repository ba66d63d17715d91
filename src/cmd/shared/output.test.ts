import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../../..");
const MODULE = join(import.meta.dirname, "output.ts");
const FILES = join(ROOT, "src/platform/syscalls/files.ts");

/** Runs a script below a shell command line. */
function run(script: string, line = '"$0" "$@"'): { out: string; err: string; code: number | null } {
  const code = `import { guardOutput, madeStreams, stdoutStream, toStdout } from "${MODULE}"; ${script}`;
  const program = join(ROOT, "node_modules/.bin/bun");
  const done = spawnSync("bash", ["-c", line, program, "-e", code], { encoding: "utf8" });
  return { out: done.stdout, err: done.stderr, code: done.status };
}

test("text and stream keep their order, and nothing that was never asked for is made", () => {
  assert.equal(run('toStdout("1\\n"); stdoutStream().write("2\\n"); toStdout("3\\n");').out, "1\n2\n3\n");
  assert.equal(run("toStdout(String(madeStreams().length));").out, "0");
  assert.equal(run("stdoutStream(); toStdout(String(madeStreams().length));").out, "1");
});

test("a full pipe that does not wait gets everything in the end", () => {
  // the reader sleeps until the pipe is full
  const script = `
    import { setNonblocking } from "${FILES}";
    setNonblocking(1, true);
    toStdout("x".repeat(300_000));
    toStdout("end\\n");
    for (const stream of madeStreams()) await new Promise((done) => stream.end(done));
    process.exit(0);`;
  assert.equal(run(script, '"$0" "$@" | { sleep 0.3; wc -c; }').out.trim(), "300004");
});

test("without a reader the program ends quietly, as by a SIGPIPE; what cannot be written is said", () => {
  // a reader that is gone before the first byte: it holds the other end of a FIFO until it is told
  const gone = `d=$(mktemp -d); mkfifo $d/f; exec 3<>$d/f 4>$d/f 3<&-; rm -r $d; "$0" "$@" >&4`;
  const forEver = "setInterval(() => {}, 1000);";
  for (const script of [
    `toStdout("x\\n");`,
    `stdoutStream().write("x\\n"); ${forEver}`,
    `guardOutput("t", true); process.stdout.write("x\\n"); ${forEver}`,
  ]) {
    const unread = run(script, gone);
    assert.deepEqual([unread.code, unread.err], [141, ""], script);
    const full = run(`guardOutput("t", false); ${script}`, '"$0" "$@" >/dev/full');
    assert.deepEqual([full.code, full.err], [1, "t: write output: no space left on device\n"], script);
  }
  const closed = run(`guardOutput("t", false); toStdout("x\\n");`, '"$0" "$@" >&-');
  assert.match(closed.err, /^(t: write output: bad file descriptor\n)?$/);
});

test("ctr writes through this module only: else its end would not wait for the streams", () => {
  const dir = join(ROOT, "src/cmd/ctr");
  const sources = readdirSync(dir, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".ts") && !name.endsWith(".test.ts"),
  );
  assert.ok(sources.length > 50);
  const direct = sources.filter((name) =>
    /process\.std(out|err)\b|console\./.test(readFileSync(join(dir, name), "utf8")),
  );
  assert.deepEqual(direct, []);
});
