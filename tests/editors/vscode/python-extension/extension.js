// The part of the Python extension's API that fuselight asks: environments.
const vscode = require("vscode");

exports.activate = (context) => {
  const changed = new vscode.EventEmitter();
  const selected = () => vscode.workspace.getConfiguration("python").get("defaultInterpreterPath");
  context.subscriptions.push(
    changed,
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("python.defaultInterpreterPath")) {
        changed.fire({ id: selected(), path: selected(), resource: undefined });
      }
    }),
  );
  return {
    ready: Promise.resolve(),
    environments: {
      getActiveEnvironmentPath: () => ({ id: selected(), path: selected() }),
      onDidChangeActiveEnvironmentPath: changed.event,
      resolveEnvironment: async ({ id, path }) =>
        path ? { id, path, executable: { uri: vscode.Uri.file(path) }, environment: undefined } : undefined,
    },
  };
};
