import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

/** The file that `command` stands for: a name on the PATH, or a path; undefined where there is none to run. */
export function find(command: string, folder: string | undefined): string | undefined {
  let name = command.trim().replace(/^~(?=$|[/\\])/, os.homedir());
  if (name.includes("${workspaceFolder}") && !folder) {
    return undefined;
  }
  name = name.replaceAll("${workspaceFolder}", () => folder ?? "");
  if (name === path.basename(name)) {
    const directories = (process.env.PATH ?? "").split(path.delimiter).filter((directory) => path.isAbsolute(directory));
    return name ? firstOf(directories.map((directory) => path.join(directory, name))) : undefined;
  }
  return firstOf([path.resolve(folder ?? os.homedir(), name)]);
}

function firstOf(files: string[]): string | undefined {
  const endings = process.platform === "win32" ? ["", ".exe"] : [""];
  return files.flatMap((file) => endings.map((ending) => file + ending)).find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
