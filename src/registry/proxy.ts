/** Which proxy a request goes through, by the rules of Go's net/http (what operators have in their units). */
import { BlockList, isIP } from "node:net";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * URL of the proxy for `url`, or undefined. `HTTPS_PROXY`/`HTTP_PROXY` (either case); `NO_PROXY` holds host suffixes,
 * addresses, CIDR ranges, `host:port`, or `*`. This machine's own addresses never go through a proxy.
 */
export function proxyFor(url: URL, env: Env = process.env): string | undefined {
  const get = (name: string): string => env[name] || env[name.toLowerCase()] || "";
  const proxy = url.protocol === "https:" ? get("HTTPS_PROXY") : get("HTTP_PROXY");
  if (proxy === "") return undefined;
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (host === "localhost" || host === "::1" || /^127\./.test(host)) return undefined;
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  if (
    get("NO_PROXY")
      .split(",")
      .some((rule) => excludes(rule.trim().toLowerCase(), host, port))
  )
    return undefined;
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

function excludes(rule: string, host: string, port: string): boolean {
  if (rule === "") return false;
  if (rule === "*") return true;
  if (rule.includes("/")) return inRange(rule, host);
  let name = rule;
  const colon = rule.lastIndexOf(":");
  if (colon > 0 && isIP(rule) === 0) {
    if (rule.slice(colon + 1) !== port) return false;
    name = rule.slice(0, colon);
  }
  name = name.replace(/^\[|\]$/g, "").replace(/^\*/, "");
  if (isIP(host) !== 0) return host === name;
  return name.startsWith(".") ? host.endsWith(name) : host === name || host.endsWith(`.${name}`);
}

function inRange(rule: string, host: string): boolean {
  const [net = "", bits = ""] = rule.split("/");
  const family = isIP(net);
  if (family === 0 || isIP(host) !== family || !/^\d{1,3}$/.test(bits)) return false;
  const type = family === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  try {
    list.addSubnet(net, Number(bits), type);
  } catch {
    return false;
  }
  return list.check(host, type);
}
