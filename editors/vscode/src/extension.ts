import * as vscode from "vscode";
import { ExecuteCommandRequest, LanguageClient, LanguageClientOptions, ServerOptions } from "vscode-languageclient/node";

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
    vscode.commands.registerCommand("fuselight.fixAllFiles", () => execute("fuselight.fixWorkspace", {})),
    vscode.commands.registerCommand("fuselight.openGraph", openGraph),
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
    documentSelector: [
      { language: "python", scheme: "file" },
      { language: "python", scheme: "untitled" },
      { language: "python", scheme: "vscode-notebook-cell" },
    ],
    initializationOptions: vscode.workspace.getConfiguration(NAME),
    outputChannel: output,
    traceOutputChannel: output,
  };
  client = new LanguageClient(NAME, NAME, server, options);
  // A server that does not come up is reported by the client itself.
  await client.start();
}

/** Has the server carry out one of its commands; what it cannot do is said to the user. */
async function execute<T>(command: string, argument: object): Promise<T | undefined> {
  if (!client?.isRunning()) {
    void vscode.window.showWarningMessage("fuselight: the server is not running.");
    return undefined;
  }
  try {
    return (await client.sendRequest(ExecuteCommandRequest.type, { command, arguments: [argument] })) as T;
  } catch (error) {
    void vscode.window.showWarningMessage(`fuselight: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** The graph of the class under the cursor, beside the text. */
async function openGraph(): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (!editor) {
    return;
  }
  const uri = editor.document.uri.toString();
  const { line, character } = editor.selection.active;
  const picture = await execute<string>("fuselight.showGraph", { uri, position: { line, character }, format: "svg" });
  if (picture !== undefined) {
    // Scripts stay off, which is the default: it is a picture.
    const beside = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    vscode.window.createWebviewPanel("fuselight.graph", "fuselight: graph", beside, {}).webview.html = picture;
  }
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
