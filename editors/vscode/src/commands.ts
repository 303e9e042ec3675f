import * as vscode from "vscode";

import { GraphView } from "./graph";
import { Session } from "./session";

interface Summary {
  readonly applied: boolean;
  readonly fusions: number;
  readonly files: number;
  readonly leftOut?: number;
  readonly message?: string;
}

/** The commands that the server carries out, on what the user is looking at. */
export function registerCommands(session: Session, view: GraphView): vscode.Disposable {
  return vscode.Disposable.from(
    vscode.commands.registerCommand("fuselight.fixActiveFile", () => reporting(() => fixActiveFile(session))),
    vscode.commands.registerCommand("fuselight.fixAllFiles", () => reporting(() => fixAllFiles(session))),
    vscode.commands.registerCommand("fuselight.openGraph", () => reporting(() => openGraph(session, view))),
    vscode.commands.registerCommand("fuselight.openExample", openExample),
  );
}

async function fixActiveFile(session: Session): Promise<void> {
  const document = activeEditor().document;
  const argument = { uri: document.uri.toString(), version: document.version };
  const done = await session.execute<Summary>("fuselight.fixFile", argument);
  say(done.applied ? `${count(done.fusions, "fusion")} applied.` : "Nothing in this file can be fused exactly.");
}

async function fixAllFiles(session: Session): Promise<void> {
  const done = await session.execute<Summary>("fuselight.fixWorkspace", {});
  const leftOut = done.leftOut ? ` ${count(done.leftOut, "file")} left out: the log says why.` : "";
  if (!done.applied) {
    say(`Workspace not changed: ${done.message ?? "nothing to fix"}.${leftOut}`);
    return;
  }
  const save = "Save All";
  const fixed = `${count(done.fusions, "fusion")} applied in ${count(done.files, "file")}`;
  const said = `fuselight: ${fixed}, not saved yet.${leftOut}`;
  if ((await vscode.window.showInformationMessage(said, save)) === save) {
    await saveAll();
  }
}

/** The editor's own command saves what has a tab; a file that was just changed gets one only a moment later. */
async function saveAll(): Promise<void> {
  const changed = vscode.workspace.textDocuments.filter(({ isDirty, isUntitled }) => isDirty && !isUntitled);
  await Promise.all(changed.map((document) => document.save()));
}

/** The graph of the class under the cursor. */
async function openGraph(session: Session, view: GraphView): Promise<void> {
  const { document, selection } = activeEditor();
  const { line, character } = selection.active;
  const place = { uri: document.uri.toString(), position: { line, character }, format: "svg" };
  view.show(await session.execute<string>("fuselight.showGraph", place));
}

const EXAMPLE = `import torch
from torch import nn


class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.gate_proj = nn.Linear(dim, 4 * dim)
        self.up_proj = nn.Linear(dim, 4 * dim)

    def forward(self, x):
        gate = self.gate_proj(x)
        return gate * torch.sigmoid(gate) * self.up_proj(x)
`;

/** A small model to try things on. */
async function openExample(): Promise<void> {
  await vscode.window.showTextDocument(
    await vscode.workspace.openTextDocument({ language: "python", content: EXAMPLE }),
  );
}

function activeEditor(): vscode.TextEditor {
  const editor = vscode.window.activeTextEditor;
  if (editor?.document.languageId !== "python") {
    throw new Error("open a Python file first.");
  }
  return editor;
}

async function reporting(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    void vscode.window.showWarningMessage(`fuselight: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function say(message: string): void {
  void vscode.window.showInformationMessage(`fuselight: ${message}`);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
