/** `vmm balloon NAME [SIZE]`: how much memory a guest is to give back, and what it says of the rest. */
import type { ActionResult } from "../control/actions.js";
import { ask } from "../control/client.js";
import { formatSize } from "../machine/spec.js";
import { balloonBytes } from "./balloon-option.js";
import { EXIT } from "./errors.js";

export async function balloon(name: string, size: string | undefined, { json }: { json?: boolean }): Promise<number> {
  const more = size === undefined ? {} : { sizeBytes: balloonBytes("vmm balloon: SIZE", size) };
  const report = await ask(name, "balloon", more);
  process.stdout.write(`${json ? JSON.stringify(report) : balloonText(report)}\n`);
  return EXIT.OK;
}

export function balloonText({ targetBytes, actualBytes, stats }: ActionResult["balloon"]): string {
  const lines = [`given back ${formatSize(actualBytes)}, asked for ${formatSize(targetBytes)}`];
  for (const [name, value] of Object.entries(stats ?? {})) {
    const isSize = name.endsWith("Bytes");
    const words = name.replace(/Bytes$/, "").replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
    lines.push(`  ${words} ${isSize ? formatSize(value) : value}`);
  }
  return lines.join("\n");
}
