/** `vmm ps`: the machines that answer. */
import { running } from "../control/client.js";
import { EXIT } from "./errors.js";
import { machineTable } from "./reports.js";

export async function ps({ json }: { json?: boolean }): Promise<number> {
  const { machines, silent } = await running();
  for (const name of silent) process.stderr.write(`vmm: ${name} does not answer; it may be stopped, or hang\n`);
  if (json) process.stdout.write(`${JSON.stringify(machines)}\n`);
  else if (machines.length === 0) process.stdout.write("no machine is running; `vmm run` starts one\n");
  else process.stdout.write(`${machineTable(machines)}\n`);
  return EXIT.OK;
}
