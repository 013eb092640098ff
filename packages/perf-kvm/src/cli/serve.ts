/** `perf-kvm serve`: what `top` sees, as metrics over HTTP. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { METRICS_FORMATS, type MetricsFormat, metrics } from "../export/metrics.js";
import type { Observer } from "../model/observer.js";
import { CliError, EXIT } from "./errors.js";
import { watch } from "./watch.js";
import { filtered, openObserver, type WatchOptions } from "./watch-options.js";

export interface ServeOptions extends WatchOptions {
  readonly prometheus: string;
}

/** Where a client may not be trusted to come to an end by itself. */
const CLIENT_TIMEOUT_MS = 10_000;
const MOST_CLIENTS = 64;
/** How long a machine that has ended is still told of: several scrapes of the usual interval. */
const FORGET_AFTER_MS = 5 * 60_000;
const FORGET_INTERVAL_MS = 10_000;

export async function serve(options: ServeOptions): Promise<number> {
  const { host, port } = addressOf(options.prometheus);
  const observer = openObserver(options, true);
  try {
    const server = createServer((request, response) => answer(request, response, observer, options.filter));
    server.maxConnections = MOST_CLIENTS;
    server.requestTimeout = CLIENT_TIMEOUT_MS;
    server.headersTimeout = CLIENT_TIMEOUT_MS;
    const bound = await listen(server, host, port);
    process.stderr.write(`perf-kvm: metrics at http://${bound}/metrics; Ctrl-C ends it\n`);
    for (const note of observer.host.notes) process.stderr.write(`perf-kvm: note: ${note}\n`);
    const forgetting = setInterval(() => observer.forgetEnded(FORGET_AFTER_MS), FORGET_INTERVAL_MS);
    try {
      await watch(observer, {}, () => {});
    } finally {
      clearInterval(forgetting);
      server.close();
      server.closeAllConnections();
    }
  } finally {
    observer.close();
  }
  return EXIT.OK;
}

/** `:9400`, `9400`, `0.0.0.0:9400` or `[::1]:9400`; the loopback when it names no address. */
function addressOf(text: string): { host: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]:|([^:[\]\s]*):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535)
    throw new CliError(`--prometheus ${text}: a port such as :9400, or an address and a port such as 0.0.0.0:9400`);
  return { host: bracketed ?? (plain || "127.0.0.1"), port };
}

/** Resolves with the address as a URL has it: port 0 becomes the one that was free. */
function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", ({ code, message }: NodeJS.ErrnoException) => {
      const why = code === "EADDRINUSE" ? "somebody listens there already; choose another port" : message;
      reject(new CliError(`--prometheus ${host}:${port}: ${why}`, EXIT.FAILURE));
    });
    server.listen(port, host, () => {
      const bound = server.address();
      const name = host.includes(":") ? `[${host}]` : host;
      resolve(`${name}:${typeof bound === "object" && bound !== null ? bound.port : port}`);
    });
  });
}

const INDEX = `<!doctype html><title>perf-kvm</title><p>Exits of this host's virtual machines: <a href="/metrics">/metrics</a>\n`;

function answer(
  { method, url, headers }: IncomingMessage,
  response: ServerResponse,
  observer: Observer,
  filter: string | undefined,
): void {
  const end = (status: number, type: string, body: string, more: Record<string, string> = {}): void => {
    response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body), ...more });
    response.end(method === "HEAD" ? undefined : body);
  };
  const [path] = (url ?? "").split("?");
  if (method !== "GET" && method !== "HEAD") end(405, "text/plain", "GET or HEAD\n", { Allow: "GET, HEAD" });
  else if (path === "/") end(200, "text/html; charset=utf-8", INDEX);
  else if (path !== "/metrics") end(404, "text/plain", "there is /metrics\n");
  else {
    const format: MetricsFormat = headers.accept?.includes("application/openmetrics-text")
      ? "openmetrics"
      : "prometheus";
    observer.drain();
    observer.collect();
    end(200, METRICS_FORMATS[format], metrics(filtered(observer.total(), filter), format));
  }
}
