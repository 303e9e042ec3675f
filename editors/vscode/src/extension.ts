import * as vscode from "vscode";
import { LanguageClient, LanguageClientOptions, ServerOptions } from "vscode-languageclient/node";

import { find } from "./command";

const NAME = "fuselight";

let output: vscode.LogOutputChannel;
let client: LanguageClient | undefined;
let queue: Promise<void> = Promise.resolve();

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  output = vscode.window.createOutputChannel(NAME, { log: true });
  context.subscriptions.push(
    output,
    vscode.commands.registerCommand("fuselight.restart", restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("fuselight.path")) {
        void restart();
      }
    }),
  );
  await restart();
}

export function deactivate(): Promise<void> {
  return enqueue(stop);
}

function restart(): Promise<void> {
  return enqueue(async () => {
    await stop();
    await start();
  });
}

/** One start or stop after the other, however fast they are asked for. */
function enqueue(step: () => Promise<void>): Promise<void> {
  queue = queue.then(step).catch((error) => output.error(String(error)));
  return queue;
}

async function start(): Promise<void> {
  const setting = vscode.workspace.getConfiguration(NAME).get<string>("path", NAME);
  const folder = vscode.workspace.workspaceFolders?.find(({ uri }) => uri.scheme === "file")?.uri.fsPath;
  const command = find(setting, folder);
  if (!command) {
    // Not awaited: the message stays until it is read.
    void explain(`The command \`${setting}\` was not found. Install it with \`pip install fuselight\`, or say in the setting fuselight.path where it is.`);
    return;
  }
  output.info(`starting ${command} server`);
  const server: ServerOptions = { command, args: ["server"], options: { cwd: folder } };
  const options: LanguageClientOptions = {
    // The schemes leave out the cells of notebooks, which are no files of their own.
    documentSelector: [
      { language: "python", scheme: "file" },
      { language: "python", scheme: "untitled" },
    ],
    initializationOptions: vscode.workspace.getConfiguration(NAME),
    outputChannel: output,
    traceOutputChannel: output,
  };
  client = new LanguageClient(NAME, NAME, server, options);
  // A server that does not come up is reported by the client itself.
  await client.start();
}

async function stop(): Promise<void> {
  const old = client;
  client = undefined;
  try {
    await old?.dispose();
  } catch {
    // One that never came up cannot be stopped either.
  }
}

async function explain(message: string): Promise<void> {
  output.error(message);
  const [settings, again] = ["Open settings", "Try again"];
  const chosen = await vscode.window.showErrorMessage(`fuselight: ${message}`, settings, again);
  if (chosen === settings) {
    await vscode.commands.executeCommand("workbench.action.openSettings", "fuselight.path");
  } else if (chosen === again) {
    await restart();
  }
}
