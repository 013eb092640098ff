/**
 * Debian's Linux as a guest, to /init and back. Once as a bzImage with two CPUs, which is asked by its power button to
 * switch off; once as a vmlinux with the split irqchip, which restarts the machine; once as a bzImage that our ROM starts, and
 * once as one that SeaBIOS starts.
 * What the guest says it found is compared with what it was given. Exit status: 0 when all is as it should be.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildInitramfs, chooseKernel, unpackBzImage } from "../dist/index.js";
import { endAll, start, until } from "./programs.mjs";

const VMM = "packages/vmm/bin/vmm.js";

/**
 * A line `fact NAME VALUE` for each thing the guest can know, then `andThen`. In the lab CPUID leaf 0xd does not follow
 * XCR0, whichever VMM runs the guest; Linux warns of that once, and it is no fault of ours.
 */
const script = (andThen) => `
fact() { echo "fact $1 $2"; }
fact cpus "$(grep -c ^processor /proc/cpuinfo)"
fact memory-mib "$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))"
fact clock "$(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
fact hypervisor "$(dmesg | sed -n 's/.*Hypervisor detected: //p')"
fact acpi-cpus "$(ls -d /sys/bus/acpi/devices/ACPI0007:* | wc -l)"
fact acpi-faults "$(dmesg | grep -cE 'ACPI (BIOS )?(Error|Warning|Exception)|Firmware Bug')"
fact sci "$(awk '$1 == "9:" {print $NF}' /proc/interrupts)"
fact serial "$(awk '$1 == "4:" {print $NF}' /proc/interrupts)"
fact rtc "$(cat /sys/class/rtc/rtc0/name | cut -d' ' -f1)"
fact product "$(cat /sys/class/dmi/id/product_name)"
fact oops "$(dmesg | grep -E 'WARNING: CPU|BUG:|Oops' | grep -v fpu__init_system_xstate | tr '\\n' '|')"
${andThen}
`;

const EXPECTED = {
  clock: "kvm-clock",
  hypervisor: "KVM",
  "acpi-faults": "0",
  sci: "acpi",
  serial: "ttyS0",
  rtc: "rtc_cmos",
  product: "tools-kvm PC",
  oops: "",
};

function boot(name, kernel, initramfs, ...more) {
  const command = "console=ttyS0 loglevel=4";
  return start("node", [
    ...[VMM, "run", "--name", name, "--kernel", kernel, "--initrd", initramfs, "--append", command],
    ...["--memory", "256M", ...more],
  ]);
}

/** Differences between what the guest said and what it should have. */
function compare(name, text, expected) {
  const facts = Object.fromEntries([...text.matchAll(/^fact (\S+) (.*?)\r?$/gm)].map(([, key, value]) => [key, value]));
  console.log(name, JSON.stringify(facts));
  return Object.entries({ ...EXPECTED, ...expected })
    .filter(([key, value]) => facts[key] !== value)
    .map(([key, value]) => `${name}: ${key} is ${facts[key]}, not ${value}`);
}

async function switchedOffByPowerButton(folder, kernel, modulesDirectory) {
  const initramfs = join(folder, "button.cpio");
  const wait = `
button=$(grep -l "Power Button" /sys/class/input/event*/device/name | cut -d/ -f5 | head -n 1)
echo "ready"
head -c 24 /dev/input/$button >/dev/null && echo "pressed"
poweroff -f`;
  const modules = ["button", "evdev"];
  writeFileSync(initramfs, buildInitramfs({ script: script(wait), modules, modulesDirectory }));
  const guest = boot("button", kernel, initramfs, "--cpus", "2");
  await until("/init with two CPUs", guest, () => guest.out.text.includes("ready"));
  const stop = start("node", [VMM, "stop", "--grace", "60", "button"]);
  const [status, stopStatus] = [await guest.done, await stop.done];
  const faults = compare("button", guest.out.text, { cpus: "2", "acpi-cpus": "2" });
  if (!guest.out.text.includes("pressed")) faults.push(`button: never pressed: ${guest.out.text.slice(-500)}`);
  if (status !== 0 || stopStatus !== 0 || stop.out.errors !== "") {
    faults.push(`button: run ended with ${status}, stop with ${stopStatus}: ${guest.out.errors}${stop.out.errors}`);
  }
  return faults;
}

async function restarted(folder, kernel) {
  const vmlinux = join(folder, "vmlinux");
  writeFileSync(vmlinux, unpackBzImage(readFileSync(kernel), kernel));
  const initramfs = join(folder, "restart.cpio");
  writeFileSync(initramfs, buildInitramfs({ script: script("reboot -f") }));
  const guest = boot(
    "restart",
    vmlinux,
    initramfs,
    "--irqchip",
    "split",
    "--no-reboot",
    "--json",
    "--serial",
    `file:${folder}/serial`,
  );
  const status = await guest.done;
  const faults = compare("restart", readFileSync(join(folder, "serial"), "latin1"), { cpus: "1", "acpi-cpus": "1" });
  const last = JSON.parse(guest.out.text.trim().split("\n").at(-1));
  if (status !== 0 || last.why !== "reset")
    faults.push(`restart: ended with ${status}, ${last.why}: ${guest.out.errors}`);
  return faults;
}

/** The bzImage by its 64-bit entry, with the tables where firmware has put them. */
async function startedBy(firmware, cpus, folder, kernel) {
  const initramfs = join(folder, `${firmware}.cpio`);
  writeFileSync(initramfs, buildInitramfs({ script: script("poweroff -f") }));
  const guest = boot(
    firmware,
    kernel,
    initramfs,
    ...["--firmware", firmware, "--debug-console", "stderr", "--cpus", cpus],
  );
  const status = await guest.done;
  const faults = compare(firmware, guest.out.text, { cpus, "acpi-cpus": cpus });
  if (status !== 0 || !/^rom: Linux kernel entered in long mode/m.test(guest.out.errors)) {
    faults.push(`${firmware}: ended with ${status}: ${guest.out.errors}${guest.out.text.slice(-500)}`);
  }
  return faults;
}

async function panicked(folder, kernel, modulesDirectory) {
  const initramfs = join(folder, "panic.cpio");
  const panic = "echo 1 >/proc/sys/kernel/sysrq\necho c >/proc/sysrq-trigger";
  writeFileSync(initramfs, buildInitramfs({ script: panic, modules: ["pvpanic-mmio"], modulesDirectory }));
  const guest = boot("panic", kernel, initramfs);
  const status = await guest.done;
  const said = guest.out.errors.trim();
  if (status === 1 && said === "vmm: panic: the guest's kernel panicked; its console says why") return [];
  return [`panic: ended with ${status}, ${said}: ${guest.out.text.slice(-500)}`];
}

const folder = mkdtempSync(join(tmpdir(), "linux-boots-"));
try {
  const { path, modulesDirectory } = chooseKernel({});
  if (!existsSync(path)) throw new Error(`no kernel at ${path}`);
  const faults = [
    ...(await switchedOffByPowerButton(folder, path, modulesDirectory)),
    ...(await restarted(folder, path)),
    ...(await panicked(folder, path, modulesDirectory)),
    ...(await startedBy("rom", "2", folder, path)),
    ...(await startedBy("seabios", "1", folder, path)),
  ];
  for (const fault of faults) console.log(`FAULT: ${fault}`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} finally {
  endAll();
  rmSync(folder, { recursive: true, force: true });
}
