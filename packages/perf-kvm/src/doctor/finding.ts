/** One line of `perf-kvm doctor`. */
export interface Finding {
  readonly what: string;
  /** `limited`: there, but not all of it, or not for everything. */
  readonly verdict: "ok" | "limited" | "missing";
  readonly detail: string;
  /** What to do; empty when there is nothing to mend, or no way to. */
  readonly mend: string;
}

export const ok = (what: string, detail: string): Finding => ({ what, verdict: "ok", detail, mend: "" });
export const limited = (what: string, detail: string, mend = ""): Finding => ({
  what,
  verdict: "limited",
  detail,
  mend,
});
export const missing = (what: string, detail: string, mend = ""): Finding => ({
  what,
  verdict: "missing",
  detail,
  mend,
});
