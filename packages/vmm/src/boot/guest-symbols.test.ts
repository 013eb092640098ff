/** Where a machine says that its kernel's symbols are. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { embeddedGuestPath, embeddedGuestSymbolsPath } from "@tools-kvm/firmware";
import { afterAll, expect, it } from "vitest";
import { guestSymbols } from "./guest-symbols.js";
import type { KernelImage } from "./kernel-image.js";

const folder = mkdtempSync(join(tmpdir(), "guest-symbols-"));
afterAll(() => rmSync(folder, { recursive: true }));
const image = (path: string, ...bytes: number[]): KernelImage =>
  ({ path, file: Uint8Array.from(bytes) }) as Partial<KernelImage> as KernelImage;

it("is beside the embedded guest, and in an ELF file itself", () => {
  expect(guestSymbols(image(embeddedGuestPath(), 1), "")).toEqual({ path: embeddedGuestSymbolsPath() });
  expect(guestSymbols(image("/k/vmlinux", 0x7f, 0x45, 0x4c, 0x46), "")).toEqual({ path: "/k/vmlinux" });
});

it("is the vmlinux of a bzImage's build tree, if the kernel does not choose its address", () => {
  mkdirSync(join(folder, "arch/x86/boot"), { recursive: true });
  const bzImage = join(folder, "arch/x86/boot/bzImage");
  expect(guestSymbols(image(bzImage, 0), "quiet nokaslr")).toEqual({ why: expect.stringContaining("no vmlinux") });
  writeFileSync(join(folder, "vmlinux"), "");
  expect(guestSymbols(image(bzImage, 0), "quiet nokaslr")).toEqual({ path: join(folder, "vmlinux") });
  expect(guestSymbols(image(bzImage, 0), "quiet nokaslrx")).toEqual({ why: expect.stringContaining("nokaslr") });
});
