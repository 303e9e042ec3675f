import * as vscode from "vscode";

/**
 * The log as the client traces to it: on or off by the setting fuselight.trace.server.
 *
 * The client itself goes by the channel's log level alone, whatever the setting says.
 */
export class Trace implements vscode.Disposable {
  private readonly levelChanged = new vscode.EventEmitter<vscode.LogLevel>();
  private readonly subscription: vscode.Disposable;

  readonly channel: vscode.LogOutputChannel;

  constructor(output: vscode.LogOutputChannel) {
    this.channel = Object.create(output, {
      logLevel: { get: level },
      onDidChangeLogLevel: { value: this.levelChanged.event },
      trace: { value: (message: string, ...rest: unknown[]) => output.info(message, ...rest) },
    });
    this.subscription = vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("fuselight.trace.server")) {
        this.levelChanged.fire(level());
      }
    });
  }

  dispose(): void {
    this.subscription.dispose();
    this.levelChanged.dispose();
  }
}

function level(): vscode.LogLevel {
  const wanted = vscode.workspace.getConfiguration("fuselight").get<string>("trace.server", "off");
  return wanted === "off" ? vscode.LogLevel.Info : vscode.LogLevel.Trace;
}
