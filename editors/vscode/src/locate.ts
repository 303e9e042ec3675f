import * as vscode from "vscode";

import { find, firstOf, liesIn } from "./command";
import { PrivateEnvironment } from "./environment";
import { Interpreter } from "./interpreter";
import { OLDEST, isOlder, versionOf } from "./version";

export const SECTION = "fuselight";

/** Where a server was found. */
export type Place =
  "the setting fuselight.path" | "the selected Python environment" | "the PATH" | "the private environment";

export interface Server {
  readonly command: string;
  readonly place: Place;
  readonly version: string;
}

/** Why there is no server to start. `isAbsent`: there is none anywhere; otherwise one that is there cannot be used. */
export class NoServer extends Error {
  constructor(
    message: string,
    readonly isAbsent = false,
  ) {
    super(message);
  }
}

/**
 * The server to start: the one that the setting names; else that of the selected interpreter, of the PATH, of the
 * private environment.
 *
 * Of a workspace that is not trusted nothing is run: no interpreter is looked at, and no file in it.
 */
export async function locate(interpreter: Interpreter, own: PrivateEnvironment): Promise<Server> {
  const { command, place } = await first(interpreter, own);
  const folders = workspaceFolders();
  if (!vscode.workspace.isTrusted && liesIn(folders, command)) {
    throw new NoServer(`${command} lies in this workspace: it is not run.`);
  }
  const { version, said } = await versionOf(command);
  if (version === undefined) {
    const answer = said ? `\`--version\` says: ${said}` : "`--version` says nothing";
    throw new NoServer(`${command}, found by ${place}, is no fuselight server: ${answer}`);
  }
  if (isOlder(version, OLDEST)) {
    const upgrade = "`pip install --upgrade fuselight` in its environment brings a newer one.";
    throw new NoServer(
      `${command}, found by ${place}, is fuselight ${version}, too old for this extension, ` +
        `which needs ${OLDEST} or newer. ${upgrade}`,
    );
  }
  return { command, place, version };
}

async function first(interpreter: Interpreter, own: PrivateEnvironment): Promise<{ command: string; place: Place }> {
  const [folder] = workspaceFolders();
  const setting = vscode.workspace.getConfiguration(SECTION).get<string | null>("path")?.trim();
  if (setting) {
    const command = find(setting, folder);
    if (!command) {
      throw new NoServer(`The setting fuselight.path names \`${setting}\`: there is no such program.`);
    }
    return { command, place: "the setting fuselight.path" };
  }
  const places: [Place, () => Promise<string | undefined> | string | undefined][] = [
    ["the selected Python environment", async () => firstOf(await programs(interpreter), [SECTION])],
    ["the PATH", () => find(SECTION)],
    ["the private environment", () => own.command()],
  ];
  for (const [place, look] of places) {
    const command = await look();
    if (command) {
      return { command, place };
    }
  }
  const looked = vscode.workspace.isTrusted
    ? "neither in the selected Python environment nor on the PATH"
    : "not on the PATH";
  throw new NoServer(`No fuselight server was found: ${looked}.`, true);
}

function programs(interpreter: Interpreter): Promise<string[]> | string[] {
  return vscode.workspace.isTrusted ? interpreter.programs() : [];
}

function workspaceFolders(): string[] {
  const folders = vscode.workspace.workspaceFolders ?? [];
  return folders.filter(({ uri }) => uri.scheme === "file").map(({ uri }) => uri.fsPath);
}
