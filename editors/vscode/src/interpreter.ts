import { PVSC_EXTENSION_ID, PythonExtension } from "@vscode/python-extension";
import * as path from "node:path";
import * as vscode from "vscode";

const PATIENCE_MS = 15_000;

/** The Python interpreter that is selected in the Python extension, where that extension is there. */
export class Interpreter implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<void>();
  private readonly subscriptions: vscode.Disposable[] = [this.changed];
  private api: Promise<PythonExtension | undefined> | undefined;

  /** Another interpreter was selected, or the Python extension was installed or removed. */
  readonly onDidChange = this.changed.event;

  constructor(private readonly output: vscode.LogOutputChannel) {
    let wasThere = isInstalled();
    this.subscriptions.push(
      vscode.extensions.onDidChange(() => {
        if (isInstalled() !== wasThere) {
          wasThere = isInstalled();
          this.api = undefined;
          this.changed.fire();
        }
      }),
    );
  }

  /** The interpreter's executable. */
  async executable(): Promise<string | undefined> {
    return (await this.environment())?.executable.uri?.fsPath;
  }

  /** Where its environment keeps its programs. */
  async programs(): Promise<string[]> {
    const environment = await this.environment();
    const executable = environment?.executable.uri?.fsPath;
    if (!environment || !executable) {
      return [];
    }
    const root = environment.environment?.folderUri.fsPath;
    const scripts = process.platform === "win32" ? "Scripts" : "bin";
    return [path.dirname(executable), ...(root ? [path.join(root, scripts)] : [])];
  }

  dispose(): void {
    vscode.Disposable.from(...this.subscriptions).dispose();
  }

  private async environment() {
    try {
      return await within(PATIENCE_MS, this.selected());
    } catch (error) {
      this.output.warn(`the Python extension does not say which interpreter is selected: ${String(error)}`);
      return undefined;
    }
  }

  private async selected() {
    this.api ??= this.connect();
    const environments = (await this.api)?.environments;
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    return environments?.resolveEnvironment(environments.getActiveEnvironmentPath(folder));
  }

  private async connect(): Promise<PythonExtension | undefined> {
    if (!isInstalled()) {
      return undefined;
    }
    const api = await PythonExtension.api();
    this.subscriptions.push(api.environments.onDidChangeActiveEnvironmentPath(() => this.changed.fire()));
    return api;
  }
}

function isInstalled(): boolean {
  return vscode.extensions.getExtension(PVSC_EXTENSION_ID) !== undefined;
}

async function within<T>(milliseconds: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${milliseconds / 1000} s`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
