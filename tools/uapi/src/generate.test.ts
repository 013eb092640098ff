import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { measure, outdated, program, render } from "./generate.mjs";

const canCompile = (() => {
  try {
    const input = "#include <linux/kvm.h>\n#include <linux/perf_event.h>\n";
    execFileSync(process.env.CC ?? "cc", ["-E", "-x", "c", "-o", "/dev/null", "-"], {
      input,
      stdio: ["pipe", "ignore", "ignore"],
    });
    return true;
  } catch {
    return false;
  }
})();
const NEEDS = canCompile ? "" : " (skipped: no C compiler or no kernel headers; apt-get install -y gcc linux-libc-dev)";

describe.skipIf(!canCompile)(`the generated constants and layouts${NEEDS}`, () => {
  it("are what the headers of this machine say", () => {
    expect(outdated(), "run: npm run generate -w tools-uapi").toEqual([]);
  });

  it("come out the same every time", () => {
    const facts = measure();
    expect([...render(facts)]).toEqual([...render(measure())]);
    expect(program()).toBe(program());
  });

  it("agree with what is known of the interface by heart", () => {
    const { constants, sizes, fields } = measure();
    expect(constants.get("KVM_RUN")).toBe(0xae80n);
    expect(constants.get("KVM_EXIT_IO")).toBe(2n);
    expect(constants.get("KVM_SET_USER_MEMORY_REGION2")).toBe(0x40a0ae49n);
    expect(constants.get("EINTR")).toBe(4n);
    expect([sizes.get("Regs"), sizes.get("Sregs"), sizes.get("Fpu"), sizes.get("LapicState")]).toEqual([
      144, 312, 416, 1024,
    ]);
    expect(fields.get("Run")?.find((f) => f.path === "io.data_offset")).toEqual({
      path: "io.data_offset",
      type: "u64",
      offset: 40,
      count: 0,
    });
    expect(fields.get("StatsDesc")?.find((f) => f.path === "exponent")?.type).toBe("i16");
  });

  it("name every file as generated, and by what", () => {
    for (const [file, text] of render(measure()))
      expect(text, file).toMatch(/^\/\/ (Generated|Copied) .*npm run generate -w tools-uapi/);
  });
});
