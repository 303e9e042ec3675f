import { ChildProcess, spawn } from "node:child_process";
import * as os from "node:os";
import * as vscode from "vscode";
import {
  CloseAction,
  CloseHandlerResult,
  ErrorAction,
  ErrorHandler,
  ExecuteCommandRequest,
  LanguageClient,
  LanguageClientOptions,
  State,
} from "vscode-languageclient/node";

import { NoServer, SECTION, Server } from "./locate";
import { Trace } from "./trace";

/** So often a server may stop by itself in so much time, and is started again. */
const CRASHES = 4;
const WINDOW_MS = 3 * 60_000;

export type Condition =
  | { readonly is: "stopped" | "starting" }
  | { readonly is: "running"; readonly server: Server }
  | { readonly is: "failed"; readonly why: string };

/** What goes wrong is for the log; what the user is to know of it, the session says, once. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/** The server's life: one at a time, started, ended, and started again where it ends by itself. */
export class Session implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<Condition>();
  private readonly trace: Trace;
  private client: LanguageClient | undefined;
  private process: ChildProcess | undefined;
  private server: Server | undefined;
  private queue: Promise<void> = Promise.resolve();
  private current: Condition = { is: "stopped" };
  private isStarting = false;

  readonly onDidChange = this.changed.event;

  constructor(
    private readonly output: vscode.LogOutputChannel,
    private readonly locate: () => Promise<Server>,
    private readonly explain: (error: NoServer) => void,
  ) {
    this.trace = new Trace(output);
  }

  get condition(): Condition {
    return this.current;
  }

  restart(): Promise<void> {
    return this.enqueue(async () => {
      await this.stop();
      await this.start();
    });
  }

  /** Restart if the server to run is another now. */
  reconsider(): Promise<void> {
    return this.enqueue(async () => {
      const server = await this.locate().catch(() => undefined);
      if (!server || this.current.is !== "running" || server.command !== this.server?.command) {
        await this.stop();
        await this.start();
      }
    });
  }

  /** Have the server carry out one of its commands. */
  async execute<T>(command: string, argument: object): Promise<T> {
    await this.queue;
    if (!this.client?.isRunning()) {
      throw new Error("the server is not running.");
    }
    return (await this.client.sendRequest(ExecuteCommandRequest.type, { command, arguments: [argument] })) as T;
  }

  async close(): Promise<void> {
    await this.enqueue(() => this.stop());
    this.dispose();
  }

  dispose(): void {
    this.changed.dispose();
    this.trace.dispose();
  }

  /** One start or stop after the other, however fast they are asked for. */
  private enqueue(step: () => Promise<void>): Promise<void> {
    this.queue = this.queue.then(step).catch((error) => this.output.error(String(error)));
    return this.queue;
  }

  private async start(): Promise<void> {
    this.become({ is: "starting" });
    try {
      this.server = await this.locate();
    } catch (error) {
      this.fail(error instanceof NoServer ? error : new NoServer(String(error)));
      return;
    }
    const { command, place, version } = this.server;
    this.output.info(`fuselight ${version}: ${command}, found by ${place}`);
    const client = new QuietClient(SECTION, SECTION, () => this.spawn(command), this.options());
    this.client = client;
    client.onDidChangeState(({ newState }) => this.follow(client, newState));
    this.isStarting = true;
    try {
      await client.start();
    } catch {
      // Left to itself it would try again at the next change of a document.
      this.client = undefined;
      this.fail(new NoServer(`${command}, found by ${place}, does not start: the log says why.`));
    } finally {
      this.isStarting = false;
    }
  }

  private fail(problem: NoServer): void {
    this.output.error(problem.message);
    this.become({ is: "failed", why: problem.message });
    this.explain(problem);
  }

  private async spawn(command: string): Promise<ChildProcess> {
    // Not in the workspace: what lies there is none of the server's program.
    const server = spawn(command, ["server"], { cwd: os.homedir(), windowsHide: true });
    this.process = server;
    server.on("error", (error) => this.output.error(`${command}: ${error.message}`));
    server.on("exit", (code, signal) => this.output.info(`the server has ended: ${signal ?? `status ${code}`}`));
    // What is written to a server that has just ended is lost, and the end is told by itself.
    server.stdin.on("error", () => undefined);
    return server;
  }

  private options(): LanguageClientOptions {
    return {
      documentSelector: [
        { language: "python", scheme: "file" },
        { language: "python", scheme: "untitled" },
        { language: "python", scheme: "vscode-notebook-cell" },
      ],
      initializationOptions: vscode.workspace.getConfiguration(SECTION),
      outputChannel: this.output,
      traceOutputChannel: this.trace.channel,
      errorHandler: this.errorHandler(),
      initializationFailedHandler: () => false,
      middleware: {
        workspace: {
          // A change that restarts the server is none that the old one is told of: being told would start it again.
          didChangeConfiguration: async (sections, next) => {
            const client = this.client;
            await this.queue;
            if (client === this.client && client?.isRunning()) {
              await next(sections);
            }
          },
        },
      },
    };
  }

  private errorHandler(): ErrorHandler {
    let ends: number[] = [];
    return {
      error: (_error, _message, count) => ({
        action: count !== undefined && count <= 3 ? ErrorAction.Continue : ErrorAction.Shutdown,
        handled: true,
      }),
      closed: (): CloseHandlerResult => {
        const now = Date.now();
        ends = [...ends.filter((end) => now - end < WINDOW_MS), now];
        const isOver = ends.length > CRASHES || this.current.is !== "running";
        const said = isOver
          ? "The server has ended and is not started again."
          : "The server has ended and is started again.";
        if (!this.isStarting) {
          this.tell(said, isOver);
        }
        return { action: isOver ? CloseAction.DoNotRestart : CloseAction.Restart, message: said, handled: true };
      },
    };
  }

  private tell(said: string, isOver: boolean): void {
    const [restart, log] = ["Restart", "Show Log"];
    const message = `fuselight: ${said}`;
    const shown = isOver
      ? vscode.window.showErrorMessage(message, restart, log)
      : vscode.window.showWarningMessage(message, log);
    void shown.then((chosen) => {
      if (chosen === restart) {
        void this.restart();
      } else if (chosen === log) {
        this.output.show();
      }
    });
  }

  private follow(client: LanguageClient, state: State): void {
    if (client !== this.client) {
      return;
    }
    if (state === State.Running && this.server) {
      this.become({ is: "running", server: this.server });
    } else if (state === State.Starting) {
      this.become({ is: "starting" });
    } else if (state === State.Stopped) {
      this.become({ is: "failed", why: "The server has ended." });
    }
  }

  private become(condition: Condition): void {
    this.current = condition;
    this.changed.fire(condition);
  }

  private async stop(): Promise<void> {
    const [client, server] = [this.client, this.process];
    this.client = this.process = this.server = undefined;
    try {
      await client?.dispose();
    } catch {
      // One that never came up, or hangs, cannot be stopped politely.
    }
    server?.kill("SIGKILL");
    this.become({ is: "stopped" });
  }
}
