import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LabError } from "./errors.js";
import { parseCommandLine } from "./options.js";

describe("lab's command line", () => {
  it("ends its own options where the command begins", () => {
    expect(parseCommandLine(["--cpus", "4", "ls", "--cpus", "9", "-l"])).toMatchObject({
      cpus: 4,
      words: ["ls", "--cpus", "9", "-l"],
    });
    expect(parseCommandLine(["-q", "--", "--odd-program", "-q"])).toMatchObject({
      quiet: true,
      words: ["--odd-program", "-q"],
    });
  });

  it("takes every option, with a space or with '='", () => {
    const words = [
      "--memory=4G",
      "--kernel",
      "bzImage",
      "--modules",
      "none",
      "--append=kvm_amd.npt=0",
      "--out",
      "o",
      "--timeout",
      "3",
    ];
    expect(parseCommandLine([...words, "--env", "A=b=c", "--json", "--no-stdin", "true"])).toMatchObject({
      memoryMiB: 4096,
      kernel: "bzImage",
      modules: "none",
      append: "kvm_amd.npt=0",
      out: "o",
      timeoutMs: 3000,
      env: { A: "b=c" },
      json: true,
      stdin: false,
      words: ["true"],
    });
  });

  it("names the option and the value it cannot use", () => {
    const cases: [string[], RegExp][] = [
      [["--cpus", "0"], /--cpus 0/],
      [["--cpus", "1000"], /--cpus 1000/],
      [["--cpus", "two"], /--cpus two/],
      [["--memory", "0"], /--memory 0/],
      [["--memory", "1B"], /--memory 1B/],
      [["--memory", "999999G"], /--memory 999999G/],
      [["--timeout", "-1"], /--timeout -1/],
      [["--env", "1A=x"], /--env 1A=x/],
      [["--env", "CERTAINLY_NOT_SET_HERE"], /--env CERTAINLY_NOT_SET_HERE/],
      [["--out"], /--out needs a value/],
      [["--quiet=yes"], /--quiet takes no value/],
      [["--bogus"], /no option --bogus/],
      [["--toString"], /no option --toString/],
      [["-z"], /no option -z/],
      [["-i", "--json"], /do not go together/],
    ];
    for (const [argv, message] of cases) expect(() => parseCommandLine(argv), argv.join(" ")).toThrow(message);
  });

  it("answers any words with a command line or a LabError", () => {
    const word = fc.oneof(
      fc.string(),
      fc.constantFrom("--cpus", "--memory", "--env", "--json", "--", "-i", "2", "1G", "A=b", "--suite"),
    );
    fc.assert(
      fc.property(fc.array(word), (argv) => {
        try {
          expect(parseCommandLine(argv).words.length).toBeLessThanOrEqual(argv.length);
        } catch (error) {
          expect(error).toBeInstanceOf(LabError);
        }
      }),
    );
  });
});
