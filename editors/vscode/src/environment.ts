import { ChildProcess, spawn } from "node:child_process";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { stripVTControlCharacters } from "node:util";
import * as vscode from "vscode";

import { find, firstOf } from "./command";
import { Interpreter } from "./interpreter";
import { OLDEST } from "./version";

const OLDEST_PYTHON = "3.11";
const MODERN = `import sys; sys.exit(sys.version_info < (${OLDEST_PYTHON.replace(".", ", ")}))`;

/** Why there is no private environment; empty where the user stopped it. */
export class NotMade extends Error {}

/** A virtual environment of the extension's own, for who has no fuselight elsewhere. */
export class PrivateEnvironment {
  readonly directory: string;

  constructor(
    private readonly storage: string,
    private readonly interpreter: Interpreter,
    private readonly output: vscode.LogOutputChannel,
  ) {
    this.directory = path.join(storage, "environment");
  }

  /** Its server, once it is made. */
  command(): string | undefined {
    return this.program("fuselight");
  }

  /**
   * Make it, anew if it is there.
   *
   * @throws NotMade with what the user is told.
   */
  async make(progress: vscode.Progress<{ message: string }>, stop: vscode.CancellationToken): Promise<void> {
    await fs.mkdir(this.storage, { recursive: true });
    const python = await this.python(stop);
    const release = await this.lock();
    try {
      progress.report({ message: `with ${python}` });
      await this.run(python, ["-I", "-m", "venv", "--clear", this.directory], stop);
      progress.report({ message: "pip installs fuselight, LibCST and what else it needs" });
      const pip = [
        "-I",
        "-m",
        "pip",
        "install",
        "--no-input",
        "--no-color",
        "--disable-pip-version-check",
        `fuselight>=${OLDEST}`,
      ];
      await this.run(this.program("python") ?? python, pip, stop);
    } catch (error) {
      // Half of an environment is no use to the next window.
      await fs.rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
      throw error;
    } finally {
      await release();
    }
  }

  private program(name: string): string | undefined {
    return firstOf([path.join(this.directory, process.platform === "win32" ? "Scripts" : "bin")], [name]);
  }

  /** A Python that is new enough: the selected one, else one of the PATH. */
  private async python(stop: vscode.CancellationToken): Promise<string> {
    const named = process.platform === "win32" ? ["python", "py"] : ["python3", "python"];
    for (const python of [await this.interpreter.executable(), ...named.map((name) => find(name))]) {
      if (python && (await this.succeeds(python, ["-I", "-c", MODERN], stop))) {
        return python;
      }
    }
    throw new NotMade(`No Python ${OLDEST_PYTHON} or newer was found, neither selected nor on the PATH.`);
  }

  private async succeeds(command: string, args: string[], stop: vscode.CancellationToken): Promise<boolean> {
    try {
      await this.run(command, args, stop);
      return true;
    } catch (error) {
      if (stop.isCancellationRequested) {
        throw error;
      }
      return false;
    }
  }

  /** Run a program to its end, its output in the log; with what it started, it is ended when the user stops it. */
  private run(command: string, args: string[], stop: vscode.CancellationToken): Promise<void> {
    this.output.info([command, ...args].join(" "));
    return new Promise((resolve, reject) => {
      const isGroup = process.platform !== "win32";
      const child = spawn(command, args, { cwd: this.storage, detached: isGroup, stdio: ["ignore", "pipe", "pipe"] });
      let said = "";
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding("utf8").on("data", (text: string) => {
          said = (said + text).slice(-10_000);
          this.output.info(text.trimEnd());
        });
      }
      const subscription = stop.onCancellationRequested(() => end(child, isGroup));
      child.on("error", (error) => reject(new NotMade(error.message)));
      child.on("close", (code) => {
        subscription.dispose();
        if (stop.isCancellationRequested) {
          reject(new NotMade());
        } else if (code !== 0) {
          reject(new NotMade(reason(said) || `${command} ended with status ${code}.`));
        } else {
          resolve();
        }
      });
    });
  }

  /** Keep other windows from making it at the same time; what is returned lets them again. */
  private async lock(): Promise<() => Promise<void>> {
    const file = path.join(this.storage, "environment.lock");
    const holder = Number(await fs.readFile(file, "utf8").catch(() => ""));
    if (!holder || !isAlive(holder)) {
      // One that was left behind by a window that was ended.
      await fs.rm(file, { force: true });
    }
    try {
      await fs.writeFile(file, String(process.pid), { flag: "wx" });
    } catch {
      throw new NotMade("It is being made by another window just now. When that is done, restart the server here.");
    }
    return () => fs.rm(file, { force: true });
  }
}

/** The line of a program's output that says what went wrong. */
function reason(said: string): string | undefined {
  const lines = stripVTControlCharacters(said).trim().split("\n");
  return lines.findLast((line) => line.startsWith("ERROR:")) ?? lines.at(-1);
}

function end(child: ChildProcess, isGroup: boolean): void {
  try {
    if (isGroup && child.pid) {
      process.kill(-child.pid);
    } else {
      child.kill();
    }
  } catch {
    // It has ended by itself.
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
