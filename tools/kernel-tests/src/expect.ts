/** What tests say: equal, refuses, needs. Each fails with a line that tells what was expected and what came. */
import { isDeepStrictEqual } from "node:util";
import * as binding from "@tools-kvm/kvm-binding";
import { Skip } from "./registry.js";

export class Failure extends Error {
  override readonly name = "Failure";
}

export function show(value: unknown): string {
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (Array.isArray(value)) return `[${value.map(show).join(", ")}]`;
  if (ArrayBuffer.isView(value))
    return `<${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}>`;
  if (typeof value === "object" && value !== null)
    return `{ ${Object.entries(value)
      .map(([name, part]) => `${name}: ${show(part)}`)
      .join(", ")} }`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

export function fail(message: string): never {
  throw new Failure(message);
}

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message);
}

export function equal<T>(actual: T, expected: T, what = "value"): void {
  if (!isDeepStrictEqual(actual, expected)) fail(`${what}: expected ${show(expected)}, got ${show(actual)}`);
}

export function between(actual: number | bigint, low: number | bigint, high: number | bigint, what: string): void {
  if (actual < low || actual > high) fail(`${what}: expected ${show(low)} to ${show(high)}, got ${show(actual)}`);
}

/** The errno name (or, separated by |, one of several) with which the kernel refuses. */
export function refuses(errnoNames: string, attempt: () => unknown): void {
  let result: unknown;
  try {
    result = attempt();
  } catch (error) {
    if (!(error instanceof binding.KvmError) || error.code !== "ERRNO") throw error;
    if (!errnoNames.split("|").includes(error.errnoName)) fail(`expected ${errnoNames}, got ${error.message}`);
    return;
  }
  fail(`expected ${errnoNames}, but it succeeded with ${show(result)}`);
}

/**
 * KVM_SET_MSRS and KVM_GET_MSRS say how many they took, which the binding makes an error of its own.
 * @returns whether all were taken
 */
export function takes(attempt: () => unknown): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof binding.KvmError && (error.code === "UNSUPPORTED" || error.code === "ERRNO")) return false;
    throw error;
  }
}

export function skip(reason: string): never {
  throw new Skip(reason);
}

type CapName = Extract<keyof typeof binding, `KVM_CAP_${string}`>;

const constants = new Map<string, unknown>(Object.entries(binding));

/** A constant of the kernel's headers by its name: an ioctl's number, a capability's. */
export function constant(name: Extract<keyof typeof binding, `KVM_${string}`>): number {
  return constants.get(name) as number;
}

/** Skips the test where KVM has not got the capability. @returns what KVM_CHECK_EXTENSION says */
export function needs(name: CapName, target?: { checkExtension(cap: number): number }): number {
  if (target !== undefined) return target.checkExtension(constant(name)) || skip(`no ${name}`);
  using kvm = binding.Kvm.open();
  return kvm.checkExtension(constant(name)) || skip(`no ${name}`);
}
