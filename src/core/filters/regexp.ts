/**
 * Matching in time that grows with the text times the expression, never faster: all ways through the expression are followed
 * at once, character by character. A client's filter runs against every object of a namespace on the daemon's main thread.
 */
import { invalidArgument } from "../errors.ts";
import { type CharTest, type Node, type Place, parseRegexp, wordChar } from "./regexp-parse.ts";

/** Most steps of a compiled expression. */
const MAX_PROGRAM = 20_000;

type Step =
  | { readonly op: "char"; readonly test: CharTest }
  | { readonly op: "place"; readonly place: Place }
  /** Goes on at both. */
  | { readonly op: "split"; first: number; second: number }
  | { readonly op: "match" };

/** An expression ready to be used. */
export interface Regexp {
  /** True when it matches anywhere in `text`. */
  test(text: string): boolean;
}

/** @throws invalid-argument in Go's words */
export function compileRegexp(source: string): Regexp {
  const program: Step[] = [];
  emit(parseRegexp(source), program);
  program.push({ op: "match" });
  return { test: (text) => run(program, text) };
}

function add(program: Step[], step: Step): void {
  if (program.length >= MAX_PROGRAM) throw invalidArgument("error parsing regexp: expression too large");
  program.push(step);
}

function emit(node: Node, program: Step[]): void {
  switch (node.kind) {
    case "empty":
      return;
    case "char":
      add(program, { op: "char", test: node.test });
      return;
    case "place":
      add(program, { op: "place", place: node.place });
      return;
    case "all":
      for (const part of node.parts) emit(part, program);
      return;
    case "any": {
      const jumps: { first: number; second: number }[] = [];
      node.parts.forEach((part, i) => {
        const last = i === node.parts.length - 1;
        const choice = last ? undefined : split(program);
        emit(part, program);
        if (choice === undefined) return;
        jumps.push(split(program));
        choice.second = program.length;
      });
      for (const jump of jumps) jump.first = jump.second = program.length;
      return;
    }
    case "repeat":
      emitRepeat(node, program);
  }
}

function emitRepeat(node: Extract<Node, { kind: "repeat" }>, program: Step[]): void {
  for (let i = 0; i < node.min; i++) emit(node.node, program);
  if (node.max < 0) {
    const loop = split(program);
    const start = program.length - 1;
    emit(node.node, program);
    const back = split(program);
    back.first = back.second = start;
    loop.second = program.length;
    return;
  }
  const exits: { second: number }[] = [];
  for (let i = node.min; i < node.max; i++) {
    exits.push(split(program));
    emit(node.node, program);
  }
  for (const exit of exits) exit.second = program.length;
}

/** Adds a split whose first way is the next step. */
function split(program: Step[]): { first: number; second: number } {
  const step = { op: "split" as const, first: program.length + 1, second: program.length + 1 };
  add(program, step);
  return step;
}

function run(program: readonly Step[], text: string): boolean {
  const chars = Array.from(text, (char) => char.codePointAt(0) ?? 0);
  /** Round in which a step was reached last: each is looked at once for each position. */
  const seen = new Int32Array(program.length).fill(-1);
  let current: CharTest[] = [];
  let after: number[] = [];
  const stack: number[] = [];
  for (let at = 0; ; at++) {
    const tests: CharTest[] = [];
    const targets: number[] = [];
    const follow = (start: number): boolean => {
      stack.push(start);
      for (let pc = stack.pop(); pc !== undefined; pc = stack.pop()) {
        if (seen[pc] === at) continue;
        seen[pc] = at;
        const step = program[pc];
        if (step === undefined) continue;
        if (step.op === "match") {
          stack.length = 0;
          return true;
        }
        if (step.op === "split") stack.push(step.second, step.first);
        else if (step.op === "char") {
          tests.push(step.test);
          targets.push(pc + 1);
        } else if (holds(step.place, chars, at)) stack.push(pc + 1);
      }
      return false;
    };
    const before = chars[at - 1] ?? 0;
    for (let i = 0; i < current.length; i++)
      if (current[i]?.(before) === true && follow(after[i] ?? 0)) return true;
    // a match may begin anywhere
    if (follow(0)) return true;
    if (at >= chars.length) return false;
    current = tests;
    after = targets;
  }
}

function holds(place: Place, chars: readonly number[], at: number): boolean {
  const [before, next] = [chars[at - 1], chars[at]];
  switch (place) {
    case "text-start":
      return at === 0;
    case "text-end":
      return at === chars.length;
    case "line-start":
      return at === 0 || before === 0x0a;
    case "line-end":
      return at === chars.length || next === 0x0a;
    default: {
      const edge = (before !== undefined && wordChar(before)) !== (next !== undefined && wordChar(next));
      return edge === (place === "word");
    }
  }
}
