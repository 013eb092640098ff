/** `vmm inspect NAME [DEVICE]`: device registers of a machine that runs on meanwhile. */
import { ask } from "../control/client.js";
import { CliError, EXIT } from "./errors.js";
import { deviceList } from "./reports.js";

export async function inspect(name: string, device: string | undefined, { json }: { json?: boolean }): Promise<number> {
  const devices = await ask(name, "devices");
  const shown = device === undefined ? devices : devices.filter((candidate) => candidate.name === device);
  if (shown.length === 0) {
    const names = devices.map((each) => each.name).join(", ");
    throw new CliError(`${name} has no device named ${device}; it has ${names}`, EXIT.FAILURE);
  }
  process.stdout.write(`${json ? JSON.stringify(shown) : deviceList(shown)}\n`);
  return EXIT.OK;
}
