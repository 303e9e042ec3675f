import * as vscode from "vscode";

/** The picture of a class, beside the text; the next picture takes its place. */
export class GraphView implements vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;

  show(svg: string): void {
    this.panel ??= this.open();
    this.panel.title = `Graph: ${/<title>([^<]*)<\/title>/.exec(svg)?.[1] ?? "fuselight"}`;
    this.panel.webview.html = page(svg);
    this.panel.reveal(undefined, true);
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private open(): vscode.WebviewPanel {
    const beside = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    // Scripts stay off, which is the default: it is a picture.
    const panel = vscode.window.createWebviewPanel("fuselight.graph", "Graph", beside, { localResourceRoots: [] });
    panel.onDidDispose(() => (this.panel = undefined));
    return panel;
  }
}

function page(svg: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body { background: #ffffff; padding: 0; }
body > svg { max-width: max(100%, 40rem); height: auto; }
</style>
</head>
<body>${svg}</body>
</html>`;
}
