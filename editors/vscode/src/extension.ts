import * as vscode from "vscode";

import { registerCommands } from "./commands";
import { PrivateEnvironment } from "./environment";
import { GraphView } from "./graph";
import { Installation } from "./installation";
import { Interpreter } from "./interpreter";
import { locate } from "./locate";
import { Session } from "./session";
import { Status } from "./status";

let session: Session | undefined;

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const output = vscode.window.createOutputChannel("fuselight", { log: true });
  const interpreter = new Interpreter(output);
  const environment = new PrivateEnvironment(context.globalStorageUri.fsPath, interpreter, output);
  const running = new Session(
    output,
    () => locate(interpreter, environment),
    // Not awaited: the message stays until it is read.
    (problem) => void installation.explain(problem),
  );
  const installation = new Installation(environment, context.globalState, output, () => running.restart());
  const status = new Status();
  const view = new GraphView();
  session = running;
  context.subscriptions.push(
    output,
    interpreter,
    status,
    view,
    running.onDidChange((condition) => {
      status.show(condition);
      void vscode.commands.executeCommand("setContext", "fuselight.isRunning", condition.is === "running");
    }),
    registerCommands(running, view),
    vscode.commands.registerCommand("fuselight.restart", () => running.restart()),
    vscode.commands.registerCommand("fuselight.showLog", () => output.show()),
    vscode.commands.registerCommand("fuselight.installServer", () => installation.ask()),
    vscode.workspace.onDidGrantWorkspaceTrust(() => running.reconsider()),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("fuselight.path")) {
        void running.restart();
      }
    }),
    interpreter.onDidChange(() => running.reconsider()),
  );
  await running.restart();
}

export function deactivate(): Promise<void> | undefined {
  return session?.close();
}
