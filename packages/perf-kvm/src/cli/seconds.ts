import { CliError } from "./errors.js";

/** A time on the command line. Throws CliError. */
export function seconds(option: string, text: string): number {
  const value = Number(text);
  if (/^\d*\.?\d+$/.test(text) && value >= 0.05 && value <= 86_400) return value;
  throw new CliError(`${option} ${text}: seconds, from 0.05 to 86400`);
}
