import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Kvm, Vcpu, Vm } from "./index.js";
import { native } from "./load-native.js";
import { hasKvm, NEEDS_KVM } from "./testing.js";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

describe("the README", () => {
  it("names every ioctl of the native table", () => {
    const named = new Set(readme.match(/\bKVM_[A-Z0-9_]+/g));
    for (const [name] of native.ioctlTable()) expect(named, name).toContain(name);
  });

  it("names methods that exist, and every method that is an ioctl", () => {
    const classes = { kvm: Kvm, vm: Vm, vcpu: Vcpu };
    const named = new Set<string>();
    for (const [, owner, method] of readme.matchAll(/`(kvm|vm|vcpu)\.(\w+)/g)) {
      expect(Object.getOwnPropertyNames(classes[owner as "vm"].prototype), `${owner}.${method}`).toContain(method);
      named.add(`${owner}.${method}`);
    }
    for (const [owner, type] of Object.entries(classes)) {
      for (const method of Object.getOwnPropertyNames(type.prototype)) {
        if (method !== "constructor")
          expect([...named, "vcpu.useLedger", "vcpu.runView"], `${owner}.${method}`).toContain(`${owner}.${method}`);
      }
    }
  });

  it.skipIf(!hasKvm)(`has an example that runs${NEEDS_KVM}`, () => {
    const code = /```js\n([\s\S]*?)```/.exec(readme)![1]!;
    const dist = new URL("../dist/index.js", import.meta.url).href;
    const output = execFileSync(
      process.execPath,
      ["--input-type=module", "-e", code.replace("@tools-kvm/kvm-binding", dist)],
      { encoding: "utf8" },
    );
    expect(output).toBe("hello\n");
  });
});
