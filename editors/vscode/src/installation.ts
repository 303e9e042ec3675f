import * as vscode from "vscode";

import { NotMade, PrivateEnvironment } from "./environment";
import { NoServer } from "./locate";

const NEVER = "fuselight.neverInstall";

/** What the user is told where there is no server, and asked: nothing is downloaded without a yes. */
export class Installation {
  private isRunning = false;

  constructor(
    private readonly environment: PrivateEnvironment,
    private readonly memory: vscode.Memento,
    private readonly output: vscode.LogOutputChannel,
    private readonly restart: () => Promise<void>,
  ) {}

  /** Say why no server was started; where there is none at all, offer to install one. */
  async explain(problem: NoServer): Promise<void> {
    if (problem.isAbsent && vscode.workspace.isTrusted) {
      await this.offer(problem.message);
      return;
    }
    const [settings, again, trust] = ["Open Settings", "Try Again", "Manage Trust"];
    const isRestricted = !vscode.workspace.isTrusted;
    const note = isRestricted ? " This workspace is not trusted: only the PATH and your own settings count." : "";
    const buttons = isRestricted ? [settings, trust] : [settings, again];
    const chosen = await vscode.window.showErrorMessage(`fuselight: ${problem.message}${note}`, ...buttons);
    if (chosen === settings) {
      await openSettings();
    } else if (chosen === again) {
      await this.restart();
    } else if (chosen === trust) {
      await vscode.commands.executeCommand("workbench.trust.manage");
    }
  }

  /** The command: asks as well, but takes back a "never". */
  async ask(): Promise<void> {
    if (!vscode.workspace.isTrusted) {
      void vscode.window.showWarningMessage("fuselight: nothing is installed from a workspace that is not trusted.");
      return;
    }
    await this.memory.update(NEVER, undefined);
    await this.offer("The server can be installed for this extension alone.");
  }

  private async offer(why: string): Promise<void> {
    if (this.isRunning || this.memory.get(NEVER)) {
      return;
    }
    const [install, settings, never] = ["Install", "Open Settings", "Never"];
    const question =
      "Make a private virtual environment for it? pip then downloads fuselight and what it needs; " +
      "LibCST among it is a native package, machine code made for this system. " +
      `It goes into ${this.environment.directory}.`;
    const chosen = await vscode.window.showInformationMessage(
      `fuselight: ${why} ${question}`,
      install,
      settings,
      never,
    );
    if (chosen === install) {
      await this.install();
    } else if (chosen === settings) {
      await openSettings();
    } else if (chosen === never) {
      await this.memory.update(NEVER, true);
    }
  }

  private async install(): Promise<void> {
    if (this.isRunning) {
      return;
    }
    this.isRunning = true;
    try {
      const shown = {
        location: vscode.ProgressLocation.Notification,
        title: "Installing fuselight",
        cancellable: true,
      };
      await vscode.window.withProgress(shown, (progress, stop) => this.environment.make(progress, stop));
    } catch (error) {
      this.failed(error);
      return;
    } finally {
      this.isRunning = false;
    }
    await this.restart();
  }

  private failed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    this.output.error(why || "The installation was stopped.");
    if (error instanceof NotMade && !why) {
      return;
    }
    const [log, again] = ["Show Log", "Try Again"];
    void vscode.window.showErrorMessage(`fuselight was not installed: ${why}`, log, again).then((chosen) => {
      if (chosen === log) {
        this.output.show();
      } else if (chosen === again) {
        void this.install();
      }
    });
  }
}

async function openSettings(): Promise<void> {
  await vscode.commands.executeCommand("workbench.action.openSettings", "fuselight.path");
}
