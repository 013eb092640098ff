/** Those who read our exports: speedscope's own importer, and Prometheus. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";

const SPEEDSCOPE = join(dirname(createRequire(import.meta.url).resolve("speedscope/package.json")), "dist/release");

export function speedscopeSchema(): object {
  return JSON.parse(readFileSync(join(SPEEDSCOPE, "file-format-schema.json"), "utf8"));
}

/** What speedscope makes of a profile. */
export interface Imported {
  readonly profiles: readonly {
    getName(): string;
    getTotalWeight(): number;
    getTotalNonIdleWeight(): number;
    forEachFrame(visit: (frame: { name: string; getSelfWeight(): number }) => void): void;
  }[];
}

/**
 * speedscope's importer. Its package has the application alone, made by Parcel: modules by number, and those to begin with. They are
 * loaded without the latter, which would draw.
 */
export function speedscopeImporter(): (name: string, text: string) => Promise<Imported | null> {
  const script = (pattern: RegExp): string =>
    readFileSync(join(SPEEDSCOPE, readdirSync(SPEEDSCOPE).find((name) => pattern.test(name))!), "utf8");
  const window: Record<string, unknown> = { TextDecoder, TextEncoder, performance, setTimeout, console: { log() {} } };
  window.window = window;
  const context = createContext(window);
  const importer = script(/^import\..*\.js$/);
  runInContext(script(/^speedscope\..*\.js$/).replace(/\},\{\},\[[^\]]*\],\s*null\)/, "},{},[],null)"), context);
  runInContext(importer, context);
  const modules = [...importer.matchAll(/"?(\w{4})"?:\[function\(require,module,exports\) ?\{/g)];
  const [, id] = modules.find(({ index }) =>
    importer.slice(index, index + 600).includes("exports.importProfileGroupFromText"),
  )!;
  const { importProfileGroupFromText } = (window.parcelRequire as (id: string) => Record<string, unknown>)(id!);
  return importProfileGroupFromText as ReturnType<typeof speedscopeImporter>;
}

const UNPACKED = fileURLToPath(
  new URL("../../../../node_modules/.cache/tools-kvm/prometheus/usr/bin", import.meta.url),
);

/** On PATH, or where `npm test` has put it. */
export function prometheusProgram(name: "prometheus" | "promtool"): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), UNPACKED];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export const NEEDS_PROMETHEUS = prometheusProgram("prometheus") === undefined ? " (skipped: needs Prometheus)" : "";

/** A Prometheus that scrapes one target of this host, on ports of 127.0.0.1. */
export class Prometheus {
  readonly #folder = mkdtempSync(join(tmpdir(), "perf-kvm-prometheus-"));
  readonly #url: string;
  readonly #stop: () => Promise<void>;
  #log = "";

  private constructor(port: number, targetPort: number) {
    this.#url = `http://127.0.0.1:${port}`;
    const config = join(this.#folder, "prometheus.yml");
    const target = { job_name: "kvm", static_configs: [{ targets: [`127.0.0.1:${targetPort}`] }] };
    writeFileSync(config, JSON.stringify({ global: { scrape_interval: "200ms" }, scrape_configs: [target] }));
    const child = spawn(prometheusProgram("prometheus")!, [
      ...[`--config.file=${config}`, `--storage.tsdb.path=${join(this.#folder, "data")}`],
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
    child.stderr.on("data", (text) => {
      this.#log += text;
    });
    this.#stop = async () => {
      child.kill("SIGKILL");
      await ended;
      rmSync(this.#folder, { recursive: true, force: true });
    };
  }

  static async start(targetPort: number): Promise<Prometheus> {
    return new Prometheus(await freePort(), targetPort);
  }

  /** The values of a query, by the labels that name them; waits until it has some. */
  async query(query: string): Promise<{ metric: Record<string, string>; value: number }[]> {
    for (let attempt = 0; attempt < 100; attempt++) {
      const answer = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(query)}`).catch(() => undefined);
      if (answer?.ok) {
        const { data } = (await answer.json()) as {
          data: { result: { metric: Record<string, string>; value: [number, string] }[] };
        };
        if (data.result.length > 0)
          return data.result.map(({ metric, value }) => ({ metric, value: Number(value[1]) }));
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`Prometheus has nothing for ${query}\n${this.#log}`);
  }

  /** Why the last scrape failed; empty when it did not. */
  async lastError(): Promise<string> {
    const answer = await fetch(`${this.#url}/api/v1/targets`);
    const { data } = (await answer.json()) as { data: { activeTargets: { lastError: string }[] } };
    return data.activeTargets[0]!.lastError;
  }

  stop(): Promise<void> {
    return this.#stop();
  }
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}
