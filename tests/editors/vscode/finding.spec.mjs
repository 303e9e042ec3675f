// Where the server comes from: the setting, the selected interpreter, the PATH, a private environment asked for;
// and what the user is told where there is none that can be used.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

import { expect, test } from "@playwright/test";

import { CodeServer, serverScript, write } from "./code_server.mjs";
import { BASE_PYTHON, PYTHON_EXTENSION, VSIX, WHEELS } from "./surroundings.mjs";
import { Workbench, openBrowser } from "./workbench.mjs";

const SWISH = "import torch\n\n\ndef swish(x):\n    return x * torch.sigmoid(x)\n";
const NOT_FOUND = "No fuselight server was found";
const BY_COMMAND = "The server can be installed for this extension alone";

let server, browser, workbench;

/** A window on a folder that holds a model, with a code-server of its own behind it. */
async function open(options, folder = "models") {
  server = await CodeServer.start({ name: "finding", packages: [VSIX()], ...options });
  workbench = await Workbench.open(browser, server, folder && server.folder(folder, { "swish.py": SWISH }));
}

test.beforeAll(async () => {
  browser = await openBrowser();
});

test.afterEach(async ({}, { title, status }) => {
  await workbench?.picture(`finding ${title.replaceAll("/", " ")}${status === "passed" ? "" : " FAILED"}`);
  await workbench?.close();
  await server?.stop();
  workbench = server = undefined;
});

test.afterAll(async () => {
  await browser?.close();
});

test("the setting comes first, then the interpreter, then the PATH; each change counts at once", async () => {
  const programs = { fuselight: serverScript() };
  await open({ programs, packages: [VSIX(), PYTHON_EXTENSION()] });
  const environment = server.folder("an environment", {});
  write(path.join(environment, "bin/python"), "", 0o755);
  write(path.join(environment, "bin/fuselight"), serverScript(), 0o755);
  const own = path.join(server.home, "own server");
  write(own, serverScript(), 0o755);

  await workbench.openFile("swish.py");
  await expect(workbench.squiggle("info")).toHaveCount(1);
  await expect.poll(() => workbench.status()).toContain("from the PATH");

  server.setMachine({ "python.defaultInterpreterPath": path.join(environment, "bin/python") });
  await expect.poll(() => workbench.status()).toContain("from the selected Python environment");
  server.setMachine({ "fuselight.path": own });
  await expect.poll(() => workbench.status()).toContain("from the setting fuselight.path");
  await expect(workbench.squiggle("info")).toHaveCount(1);
  expect(server.languageServers()).toHaveLength(1);

  server.setMachine({ "fuselight.path": "/no/such/fuselight" });
  await workbench.dismiss("The setting fuselight.path names `/no/such/fuselight`");
  await expect(workbench.squiggle("info")).toHaveCount(0);
  server.setMachine({ "fuselight.path": "/bin/cat" });
  await workbench.dismiss("/bin/cat, found by the setting fuselight.path, is no fuselight server");
  write(own, "#!/bin/sh\necho fuselight 0.0.9\n", 0o755);
  server.setMachine({ "fuselight.path": own });
  await expect(workbench.notification("is fuselight 0.0.9, too old for this extension")).toBeVisible();
  // A server that says the right version, and then does not serve.
  write(own, '#!/bin/sh\ncase "$1" in --version) echo fuselight 0.1.0;; *) exit 3;; esac\n', 0o755);
  await workbench.answer("too old", "Try Again");
  await expect(workbench.notification("does not start: the log says why")).toBeVisible();
  server.setMachine({});
  await expect.poll(() => workbench.status()).toContain("from the PATH");
  await expect(workbench.squiggle("info")).toHaveCount(1);
});

test("nothing is installed unless the answer is yes: never, stopped, failed, done", async () => {
  test.slow(); // three virtual environments are made
  // Empty at first: pip finds nothing.
  const wheelhouse = fs.mkdtempSync(path.join(os.tmpdir(), "wheels-"));
  const programs = { python3: `#!/bin/sh\nexec "${BASE_PYTHON()}" "$@"\n` };
  await open({ programs, env: { PIP_NO_INDEX: "1", PIP_FIND_LINKS: wheelhouse } });
  const environment = path.join(server.storage, "environment");
  await workbench.openFile("swish.py");
  await expect(workbench.notification("LibCST among it is a native package")).toBeVisible();
  await workbench.answer(NOT_FOUND, "Never");
  await workbench.reload();
  await workbench.openFile("swish.py");
  await expect.poll(() => workbench.status()).toContain("fuselight is not running");
  await expect(workbench.notification(NOT_FOUND)).toHaveCount(0);
  expect(fs.existsSync(environment)).toBe(false);

  await workbench.command("fuselight: Install Server");
  await workbench.answer(BY_COMMAND, "Install");
  await workbench.answer("Installing fuselight", "Cancel");
  await expect.poll(() => server.processes(isInstalling)).toEqual([]);
  await expect.poll(() => fs.existsSync(environment)).toBe(false);

  await workbench.command("fuselight: Install Server");
  await workbench.answer(BY_COMMAND, "Install");
  await expect(workbench.notification("fuselight was not installed: ERROR:")).toBeVisible();
  expect(fs.existsSync(environment)).toBe(false);

  fs.cpSync(WHEELS(), wheelhouse, { recursive: true });
  await workbench.answer("fuselight was not installed", "Try Again");
  await expect(workbench.squiggle("info")).toHaveCount(1, { timeout: 60_000 });
  expect(await workbench.status()).toContain("from the private environment");
  expect(fs.existsSync(path.join(server.storage, "environment.lock"))).toBe(false);
});

test("of a workspace that is not trusted nothing is run, until it is trusted", async () => {
  const trust = { "security.workspace.trust.enabled": true, "security.workspace.trust.startupPrompt": "never" };
  await open({ settings: trust, packages: [VSIX(), PYTHON_EXTENSION()] });
  const trace = path.join(server.home, "was run");
  const program = path.join(workbench.folder, ".venv/bin/fuselight");
  write(program, `#!/bin/sh\ntouch "${trace}"\n${serverScript().split("\n")[1]}\n`, 0o755);
  write(path.join(workbench.folder, ".venv/bin/python"), "", 0o755);
  const settings = { "fuselight.path": program };
  write(path.join(workbench.folder, ".vscode/settings.json"), JSON.stringify(settings));
  await workbench.reload();
  await workbench.openFile("swish.py");
  await workbench.dismiss("This workspace is not trusted");
  // The user's own setting counts, but not where it leads into the workspace.
  server.setMachine({ "fuselight.path": program });
  await workbench.dismiss("lies in this workspace: it is not run");
  server.setMachine({ "python.defaultInterpreterPath": path.join(workbench.folder, ".venv/bin/python") });
  await expect(workbench.notification(NOT_FOUND)).toBeVisible();
  expect(fs.existsSync(trace)).toBe(false);

  await workbench.command("Workspaces: Manage Workspace Trust");
  await workbench.page.getByRole("button", { name: "Trust", exact: true }).click();
  await workbench.page.keyboard.press("Escape");
  await expect(workbench.squiggle("info")).toHaveCount(1);
  expect(fs.existsSync(trace)).toBe(true);
});

test("a window without a folder has the walkthrough, a server and the example", async () => {
  await open({ programs: { fuselight: serverScript() } }, null);
  await workbench.command("Welcome: Open Walkthrough...");
  await workbench.page.locator(".quick-input-list .monaco-list-row", { hasText: "Start with fuselight" }).click();
  await expect(workbench.page.locator(".getting-started-step")).toHaveCount(5);
  await workbench.page.getByRole("button", { name: "Restart Server" }).click();
  await expect(workbench.page.getByRole("checkbox", { name: "Have a server: Completed" })).toBeVisible();
  await workbench.page.getByRole("heading", { name: "Open a model" }).click();
  await workbench.page.getByRole("button", { name: "Open Example" }).click();
  await expect(workbench.squiggle("info").first()).toBeAttached();
  await expect.poll(() => workbench.status()).toContain("fuselight 0.1.0");
});

function isInstalling({ command }) {
  return command.includes("venv") || command.includes("pip");
}
