/**
 * Errors of the kernel in words. node:util, which knows them, is loaded by the first error: it costs a millisecond, a thirtieth of what a
 * short command takes.
 */
export function systemMessage(code: string): string | undefined {
  const { getSystemErrorMap } = process.getBuiltinModule("node:util");
  return [...getSystemErrorMap().values()].find(([name]) => name === code)?.[1];
}
