import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";

/** The file that `command` stands for: a name on the PATH, or a path; undefined where there is none to run. */
export function find(command: string, folder?: string): string | undefined {
  let name = command.trim().replace(/^~(?=$|[/\\])/, os.homedir());
  if (name.includes("${workspaceFolder}") && !folder) {
    return undefined;
  }
  name = name.replaceAll("${workspaceFolder}", () => folder ?? "");
  if (name === path.basename(name)) {
    const directories = (process.env.PATH ?? "")
      .split(path.delimiter)
      .filter((directory) => path.isAbsolute(directory));
    return name ? firstOf(directories, [name]) : undefined;
  }
  return firstOf([folder ?? os.homedir()], [name]);
}

/** The first of `names` in the first of `directories` that holds a program of that name. */
export function firstOf(directories: string[], names: string[]): string | undefined {
  const endings = process.platform === "win32" ? ["", ".exe"] : [""];
  const files = directories.flatMap((directory) => names.map((name) => path.resolve(directory, name)));
  return files.flatMap((file) => endings.map((ending) => file + ending)).find(isExecutable);
}

/** Whether `file`, or what it links to, lies in one of `folders`. */
export function liesIn(folders: string[], file: string): boolean {
  const files = [path.resolve(file), real(path.dirname(file)), real(file)];
  const roots = folders.flatMap((folder) => [path.resolve(folder), real(folder)]);
  return roots.some((root) => files.some((one) => isWithin(root, one)));
}

function isWithin(root: string, file: string): boolean {
  const relative = path.relative(root, file);
  return relative === "" || !(relative === ".." || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative));
}

function real(file: string): string {
  try {
    return fs.realpathSync(file);
  } catch {
    return path.resolve(file);
  }
}

function isExecutable(file: string): boolean {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}
