/** What a recording can become. */
import { csv } from "./csv.js";
import { firefox } from "./firefox.js";
import { folded } from "./folded.js";
import type { ExportFormat } from "./format.js";
import { json } from "./json.js";
import { openmetrics } from "./openmetrics.js";
import { pprof } from "./pprof.js";
import { speedscope } from "./speedscope.js";

export const EXPORT_FORMATS: Readonly<Record<string, ExportFormat>> = {
  ...{ firefox, speedscope, folded, pprof },
  ...{ csv, openmetrics, json },
};
