// A notebook: findings in its cells, a rewrite in one of them, saved to the file.
import { expect, test } from "@playwright/test";

import { CodeServer, serverScript } from "./code_server.mjs";
import { VSIX } from "./surroundings.mjs";
import { Workbench, openBrowser } from "./workbench.mjs";

const IMPORTS = ["import torch\n", "from torch import nn"];
const SWISH = ["def swish(x):\n", "    return x * torch.sigmoid(x)"];
const TEXT = ["x * torch.sigmoid(x) is in no code"];

test.describe.configure({ mode: "serial" });

let server, browser, workbench;

test.beforeAll(async () => {
  server = await CodeServer.start({ name: "notebook", packages: [VSIX()], programs: { fuselight: serverScript() } });
  browser = await openBrowser();
  const notebook = {
    cells: [{ cell_type: "markdown", metadata: {}, source: TEXT }, code(IMPORTS), code(SWISH)],
    metadata: { language_info: { name: "python" } },
    nbformat: 4,
    nbformat_minor: 5,
  };
  const folder = server.folder("notebooks", { "model.ipynb": JSON.stringify(notebook, null, 1), "module.py": "" });
  workbench = await Workbench.open(browser, server, folder);
});

test.afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

test.afterEach(async ({}, { title, status }) => {
  await workbench?.picture(`notebook ${title}${status === "passed" ? "" : " FAILED"}`);
});

test("a cell that uses another cell's import is marked", async () => {
  // Before the packages are there, a notebook is opened as the JSON that it is.
  await workbench.openFile("module.py");
  await expect.poll(() => workbench.status()).toContain("fuselight 0.1.0");
  await workbench.openFile("model.ipynb");
  await expect(workbench.page.locator(".notebook-editor .squiggly-info")).toHaveCount(1);
  await workbench.hoverOver("sigmoid", "return x * torch");
  await expect(workbench.hover).toContainText("spelled-out-silu (FUS401)");
});

test("a rewrite of a cell is chosen from the menu, and undone", async () => {
  await workbench.clickOn("sigmoid", "return x * torch");
  expect(await workbench.quickFixes()).toEqual(expect.arrayContaining([expect.stringContaining("silu")]));
  await workbench.choose("silu");
  const rewritten = workbench.line("return nn.functional.silu(x)");
  await expect(rewritten).toBeVisible();
  await expect(workbench.page.locator(".notebook-editor .squiggly-info")).toHaveCount(0);
  await workbench.page.keyboard.press("Control+z");
  await expect(workbench.line("return x * torch.sigmoid(x)")).toBeVisible();
  await workbench.page.keyboard.press("Control+Shift+z");
  await expect(rewritten).toBeVisible();
});

test("the notebook is saved with the rewrite, and nothing else changed", async () => {
  await workbench.page.keyboard.press("Control+s");
  await expect.poll(() => workbench.read("model.ipynb")).toContain("silu");
  const sources = JSON.parse(workbench.read("model.ipynb")).cells.map(({ source }) => source.join(""));
  const [text, imports] = [TEXT.join(""), IMPORTS.join("")];
  expect(sources).toEqual([text, imports, "def swish(x):\n    return nn.functional.silu(x)"]);
});

test("what is typed into a cell is marked", async () => {
  await workbench.clickOn("return", "return nn.");
  await workbench.page.keyboard.press("End");
  await workbench.page.keyboard.type(" + x * torch.sigmoid(x)");
  await expect(workbench.page.locator(".notebook-editor .squiggly-info")).toHaveCount(1);
});

function code(source) {
  return { cell_type: "code", execution_count: null, metadata: {}, outputs: [], source };
}
