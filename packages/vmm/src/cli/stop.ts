/** `vmm stop NAME...`: ends machines, and waits until they have. */
import { ask, ClientError } from "../control/client.js";
import { EXIT } from "./errors.js";

export async function stop(names: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.OK;
  for (const name of names) {
    try {
      await ask(name, "stop");
    } catch (error) {
      if (!(error instanceof ClientError)) throw error;
      process.stderr.write(`vmm: ${error.message}\n`);
      exitCode = EXIT.FAILURE;
    }
  }
  return exitCode;
}
