import * as vscode from "vscode";

import { Condition } from "./session";

/** The server in the status bar, beside the language: its version, whether it runs, the way to its log. */
export class Status implements vscode.Disposable {
  private readonly item: vscode.LanguageStatusItem;

  constructor() {
    this.item = vscode.languages.createLanguageStatusItem("fuselight.server", { language: "python" });
    this.item.name = "fuselight";
    this.item.command = { title: "Show Log", command: "fuselight.showLog" };
    this.show({ is: "stopped" });
  }

  show(condition: Condition): void {
    this.item.busy = condition.is === "starting";
    this.item.severity =
      condition.is === "failed" ? vscode.LanguageStatusSeverity.Error : vscode.LanguageStatusSeverity.Information;
    switch (condition.is) {
      case "running":
        this.item.text = `fuselight ${condition.server.version}`;
        this.item.detail = `from ${condition.server.place}`;
        break;
      case "failed":
        this.item.text = "fuselight is not running";
        this.item.detail = condition.why;
        break;
      default:
        this.item.text = "fuselight";
        this.item.detail = condition.is;
    }
  }

  dispose(): void {
    this.item.dispose();
  }
}
