/** KVM's own counters of a machine, read from the stats descriptors that its VMM holds open. */
import { StatsFd } from "@tools-kvm/kvm-binding";

export class StatsSource {
  readonly #fds: readonly StatsFd[];
  #before: Map<string, number>;

  private constructor(fds: readonly StatsFd[]) {
    this.#fds = fds;
    this.#before = this.#read();
  }

  /**
   * Takes the descriptors of `pid`; undefined when it holds none open, or this process may not take them.
   * @param vcpus only these vCPUs, and nothing of the VM as a whole; all when left out
   */
  static open(pid: number, vcpus?: readonly number[]): StatsSource | undefined {
    const fds: StatsFd[] = [];
    try {
      for (const { fd, vcpuId } of StatsFd.find(pid)) {
        if (vcpus === undefined || vcpus.includes(vcpuId)) fds.push(StatsFd.take(pid, fd));
      }
      if (fds.length > 0) return new StatsSource(fds);
    } catch {
      for (const fd of fds) fd.close();
    }
    return undefined;
  }

  /** Increase of every cumulative counter that changed since the last call, VM and vCPUs together. */
  collect(): Record<string, number> {
    const now = this.#read();
    const changed = [...now].flatMap(([name, value]): [string, number][] => {
      const increase = value - (this.#before.get(name) ?? 0);
      return increase > 0 ? [[name, increase]] : [];
    });
    this.#before = now;
    return Object.fromEntries(changed);
  }

  #read(): Map<string, number> {
    const sums = new Map<string, number>();
    for (const stats of this.#fds) {
      stats.read();
      for (const { name, type, count, index } of stats.descriptors) {
        if (type !== "cumulative" || count !== 1) continue;
        sums.set(name, (sums.get(name) ?? 0) + Number(stats.values[index]));
      }
    }
    return sums;
  }

  close(): void {
    for (const fd of this.#fds) fd.close();
  }
}
