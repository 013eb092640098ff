/**
 * The host's IPv4 network, which a guest behind passt has too: passt gives its guest the address of the host's interface that leads out, and
 * the host's gateway (passt(1), "--address", "--gateway").
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type { SandboxNetwork } from "./job.js";

const ROUTE_HAS_GATEWAY = 0x2;

/** Undefined for a host that has no way out. */
export function hostNetwork(): SandboxNetwork | undefined {
  const route = defaultRoute(readFileSync("/proc/net/route", "latin1"));
  if (route === undefined) return undefined;
  const own = networkInterfaces()[route.interface]?.find(({ family }) => family === "IPv4");
  if (own === undefined) return undefined;
  const { gateway } = route;
  return { address: own.address, netmask: own.netmask, gateway, resolver: resolver(readResolver(), gateway) };
}

/** The first default route of /proc/net/route: addresses are numbers in the order of an x86 processor's bytes. */
export function defaultRoute(table: string): { interface: string; gateway: string } | undefined {
  for (const line of table.split("\n").slice(1)) {
    const [name, destination, gateway, flags] = line.trim().split(/\s+/);
    if (destination !== "00000000" || (Number.parseInt(flags ?? "", 16) & ROUTE_HAS_GATEWAY) === 0) continue;
    if (!/^[0-9A-F]{8}$/i.test(gateway ?? "")) continue;
    return { interface: name!, gateway: [...Buffer.from(gateway!, "hex").reverse()].join(".") };
  }
  return undefined;
}

/** A resolver on the host's loopback is reached by the gateway's address, which passt takes for the host. */
export function resolver(text: string, gateway: string): string {
  return text.replace(/^(\s*nameserver\s+)(?:127\.[\d.]+|::1)\s*$/gm, `$1${gateway}`);
}

function readResolver(): string {
  try {
    return readFileSync("/etc/resolv.conf", "utf8");
  } catch {
    return "";
  }
}
