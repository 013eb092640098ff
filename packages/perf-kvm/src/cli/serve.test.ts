/** `perf-kvm serve` on a real machine, scraped by a real Prometheus: the guest makes exactly so many exits, and the metrics say so. */
import { connect, createServer } from "node:net";
import { hasKvm, NEEDS_KVM, PERF_KVM, type Process, Scratch } from "tools-testing";
import { afterAll, describe, expect, it, vi } from "vitest";
import { NEEDS_PROMETHEUS, Prometheus } from "../export/testing.js";

vi.setConfig({ testTimeout: 60_000 });
const scratch = new Scratch(PERF_KVM);
afterAll(() => scratch.close());

/** Another checkout's tests may run on this host, too. */
const NAME = `scraped-${process.pid}`;

async function served(...args: string[]): Promise<{ server: Process; port: number }> {
  const server = scratch.start(["serve", "--prometheus", ":0", ...args], {});
  await server.until("Ctrl-C ends it");
  return { server, port: Number(/127\.0\.0\.1:(\d+)\/metrics/.exec(server.stderr)![1]) };
}

const OPENMETRICS = { Accept: "application/openmetrics-text; version=1.0.0" };

describe.skipIf(!hasKvm)(`perf-kvm serve${NEEDS_KVM}`, { concurrent: true }, () => {
  it.skipIf(NEEDS_PROMETHEUS)(
    `tells Prometheus what the guest does, and of a machine that has ended${NEEDS_PROMETHEUS}`,
    async () => {
      const { server, port } = await served("--vm", NAME);
      const prometheus = await Prometheus.start(port);
      try {
        const machine = await scratch.machine(NAME);
        expect((await prometheus.query(`kvm_vcpus{vm="${NAME}"}`))[0]!.value).toBe(1);
        const from = machine.stdout.length;
        machine.type("exits pio 5000\r");
        await machine.until("kvm> ", from);
        machine.type("poweroff\r");
        await machine.ended;
        const counted = async (): Promise<number> =>
          (await prometheus.query(`kvm_exits_total{vm="${NAME}",device="testdev-latch",detail="0xe0 out"}`))[0]!.value;
        await vi.waitFor(async () => expect(await counted()).toBe(5000), { timeout: 10_000, interval: 200 });
        const [handled] = await prometheus.query('kvm_exit_handler_seconds_count{device="testdev-latch"}');
        expect(handled!.value).toBe(5000);
        expect((await prometheus.query("kvm_vcpus"))[0]!.metric).toMatchObject({
          vm: NAME,
          pid: String(machine.pid),
        });
        expect(await prometheus.lastError()).toBe("");
      } finally {
        await prometheus.stop();
      }
      server.signal("SIGINT");
      expect((await server.ended).status).toBe(0);
    },
  );

  it("gives each the format that it asks for, and has a page for people", async () => {
    const { server, port } = await served();
    const get = (path: string, init: RequestInit = {}): Promise<Response> =>
      fetch(`http://127.0.0.1:${port}${path}`, init);
    const plain = await get("/metrics");
    expect(plain.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await plain.text()).toContain("# TYPE kvm_lost_records_total counter\n");
    const open = await get("/metrics?x=1", { headers: OPENMETRICS });
    expect(open.headers.get("content-type")).toMatch(/^application\/openmetrics-text; version=1/);
    expect(await open.text()).toMatch(/\n# EOF\n$/);
    expect(await (await get("/")).text()).toContain('href="/metrics"');
    const statuses = [get("/nothing"), get("/metrics", { method: "POST" }), get("/metrics", { method: "HEAD" })];
    expect((await Promise.all(statuses)).map(({ status }) => status)).toEqual([404, 405, 200]);
    server.signal("SIGTERM");
    expect((await server.ended).status).toBe(0);
  });

  it("is disturbed neither by clients that send rubbish, nor by those that send nothing", async () => {
    const { server, port } = await served();
    const silent = connect(port, "127.0.0.1").on("error", () => {});
    const rude = connect(port, "127.0.0.1").on("error", () => {});
    rude.write(Buffer.alloc(100_000, "\xff\0GET"));
    await new Promise((resolve) => rude.resume().once("close", resolve));
    expect((await fetch(`http://127.0.0.1:${port}/metrics`)).status).toBe(200);
    server.signal("SIGINT");
    expect((await server.ended).status).toBe(0);
    silent.destroy();
  });
});

describe("perf-kvm serve's command line", () => {
  it.each([
    [["serve"], 2, "required option '--prometheus"],
    [["serve", "--prometheus", "here"], 2, "--prometheus here: a port such as :9400"],
    [["serve", "--prometheus", ":70000"], 2, "--prometheus :70000: a port"],
    [["serve", "--prometheus", "192.0.2.1:9400"], 1, "--prometheus 192.0.2.1:9400: "],
  ])("is refused in one line: %j", async (args, status, why) => {
    const found = await scratch.run(args);
    expect(found.status).toBe(status);
    expect(found.stderr).toContain(why);
    expect(found.stderr.trimEnd()).not.toContain("\n");
  });

  it("names a port that is taken", async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    const { port } = other.address() as { port: number };
    const { status, stderr } = await scratch.run(["serve", "--prometheus", `:${port}`]);
    other.close();
    expect([status, stderr]).toEqual([
      1,
      `perf-kvm: --prometheus 127.0.0.1:${port}: somebody listens there already; choose another port\n`,
    ]);
  });
});
