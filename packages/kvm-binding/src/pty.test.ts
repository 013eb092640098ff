import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { KvmError, Pty } from "./index.js";

describe("a pseudo-terminal", () => {
  it("carries bytes both ways, unchanged and without an echo", () => {
    using pty = Pty.open();
    const user = openSync(pty.path, "r+");
    try {
      const bytes = new Uint8Array(16);
      writeSync(pty.fd, "out\n");
      expect(Buffer.from(bytes.subarray(0, readSync(user, bytes))).toString()).toBe("out\n");
      writeSync(user, "in\x03\r");
      expect(Buffer.from(bytes.subarray(0, readSync(pty.fd, bytes))).toString()).toBe("in\x03\r");
      expect(() => readSync(pty.fd, bytes)).toThrow(/EAGAIN/);
    } finally {
      closeSync(user);
    }
  });

  it("can be closed twice, and says so when it is used afterwards", () => {
    const pty = Pty.open();
    pty.close();
    pty.close();
    expect(() => pty.fd).toThrow(KvmError);
  });
});
