import { mergeConfig } from "vitest/config";
import base from "../../vitest.base.js";

const config = mergeConfig(base, {});
config.test.include = ["*.test.mjs"];
export default config;
