/** Writes down the requests of a session for a person: `ctr --http-dump`, `--http-trace`, Transfer's `http_debug`. */
import { STATUS_CODES } from "node:http";
import { messageOf } from "../core/errors.ts";
import { maskText, maskUrl } from "./mask.ts";
import type { HttpRequest, HttpResponse } from "./transport.ts";

/** What is written: heads of requests and answers, and how long each took. */
export interface DumpOptions {
  readonly heads: boolean;
  readonly times: boolean;
  /** Takes some lines; must not throw. */
  readonly write: (text: string) => void;
}

/** Headers whose values are secrets. */
const SECRET = /^(authorization|proxy-authorization|cookie|set-cookie|x-.*(token|secret|key|password).*)$/;

/** `send` that tells what it sends and gets. Bodies are left out; secrets are masked as in errors. */
export function dumpingSend(
  send: (request: HttpRequest) => Promise<HttpResponse>,
  o: DumpOptions,
): (request: HttpRequest) => Promise<HttpResponse> {
  return async (request) => {
    const { method, url } = request;
    if (o.heads) o.write(requestHead(request));
    const started = performance.now();
    const took = (): string => `${(performance.now() - started).toFixed(1)} ms`;
    try {
      const response = await send(request);
      if (o.heads) o.write(responseHead(response));
      if (o.times) o.write(`${method} ${maskUrl(url)}: ${response.status} after ${took()}\n`);
      return response;
    } catch (err) {
      o.write(`${method} ${maskUrl(url)}: ${maskText(messageOf(err))} after ${took()}\n`);
      throw err;
    }
  };
}

function requestHead({ method, url, headers }: HttpRequest): string {
  const lines = [
    `${method} ${url.pathname}${url.search === "" ? "" : maskQuery(url)} HTTP/1.1`,
    `Host: ${url.host}`,
  ];
  for (const [name, value] of Object.entries(headers))
    for (const one of Array.isArray(value) ? value : [value]) lines.push(headerLine(name, one));
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function responseHead(response: HttpResponse): string {
  const lines = [`HTTP/1.1 ${response.status} ${STATUS_CODES[response.status] ?? ""}`.trimEnd()];
  for (const name of response.headerNames())
    for (const value of response.headerValues(name)) lines.push(headerLine(name, value));
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Parameters of the distribution API are shown; others may be a signature. */
function maskQuery(url: URL): string {
  const known = new Set(["ns", "mount", "from", "digest", "service", "scope", "account", "n", "last"]);
  const shown = [...url.searchParams].map(([k, v]) => `${k}=${known.has(k) ? maskText(v) : "***"}`);
  return `?${shown.join("&")}`;
}

function headerLine(name: string, value: string): string {
  const title = name.replace(/(^|-)[a-z]/g, (c) => c.toUpperCase());
  const shown = SECRET.test(name.toLowerCase())
    ? `${/^[A-Za-z]+(?= )/.exec(value)?.[0] ?? ""} ***`.trim()
    : maskText(value, 2048);
  return `${title}: ${shown}`;
}
