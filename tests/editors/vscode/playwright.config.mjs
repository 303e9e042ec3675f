import path from "node:path";

import { defineConfig } from "@playwright/test";

import { ARTIFACTS } from "./surroundings.mjs";

export default defineConfig({
  testMatch: "*.spec.mjs",
  outputDir: path.join(ARTIFACTS, "vscode"),
  preserveOutput: "always",
  reporter: "list",
  // One session after the other: two workbenches on two cores only wait for each other.
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 20_000 },
});
