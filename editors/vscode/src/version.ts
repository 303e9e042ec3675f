import { execFile } from "node:child_process";
import * as os from "node:os";

/** The oldest server that this extension knows how to talk to. */
export const OLDEST = "0.1.0";

/** Long enough for a Python that is read from a cold disk. */
const PATIENCE_MS = 30_000;

const LONGEST = 200;

/** What `command --version` says, if it is fuselight that says it. */
export function versionOf(command: string): Promise<{ version?: string; said: string }> {
  return new Promise((resolve) => {
    const options = { timeout: PATIENCE_MS, cwd: os.homedir(), windowsHide: true };
    const child = execFile(command, ["--version"], options, (error, stdout, stderr) => {
      const version = /^fuselight (\d+(?:\.\d+)*\S*)\s*$/.exec(stdout)?.[1];
      // A traceback ends with what matters, other output begins with it.
      const said = lastLine(stderr) || stdout.trim().split("\n")[0] || lastLine(error?.message ?? "");
      resolve({ version, said: said.slice(0, LONGEST) });
    });
    // What reads its input is not kept waiting for it.
    child.stdin?.end();
  });
}

/** Whether version `one` is older than `other`, by their numbers. */
export function isOlder(one: string, other: string): boolean {
  const [left, right] = [numbers(one), numbers(other)];
  const places = Array.from({ length: Math.max(left.length, right.length) }, (_, place) => place);
  const first = places.find((place) => (left[place] ?? 0) !== (right[place] ?? 0));
  return first !== undefined && (left[first] ?? 0) < (right[first] ?? 0);
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}

function numbers(version: string): number[] {
  return (/^\d+(?:\.\d+)*/.exec(version)?.[0] ?? "").split(".").map(Number);
}
