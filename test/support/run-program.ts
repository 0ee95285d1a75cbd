import { spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A node program in a process of its own. */
export interface Program {
  readonly pid: number;
  /** The port of its first server. */
  readonly port: number;
  readonly url: string;
  /** Everything that it has printed so far. */
  stdout(): string;
  stderr(): string;
  /** Forgets what was printed so far. */
  clear(): void;
  /** Resolves with the first match in what it prints; rejects if it exits without. */
  printed(pattern: RegExp): Promise<RegExpMatchArray>;
  /** Resolves when the process has ended and all that it printed has been read. */
  readonly exited: Promise<Exit>;
  kill(signal?: NodeJS.Signals): Promise<Exit>;
}

/** A program that has exited before it listened. */
export class EarlyExit extends Error {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;

  constructor(file: string, exit: Exit, { stdout, stderr }: { stdout: string; stderr: string }) {
    super(`${file} exited with ${exit.signal ?? exit.code} before it listened:\n${stderr}`);
    this.exit = exit;
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

export interface ProgramOptions {
  readonly args?: readonly string[];
  /** Options for node itself, such as `--import`. */
  readonly nodeArgs?: readonly string[];
  readonly cwd?: string;
  /** Added to the environment of the tests. A variable that is undefined is taken out. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Nobody reads what it prints on standard output. */
  readonly unread?: boolean;
}

/**
 * Loaded into the program: tells us the port that its first server got, which leaves no time for
 * anybody else to take it, and ends the program if the tests die before they have killed it.
 */
const REPORT_PORT = `
  import { Server } from 'node:net';
  const { emit } = Server.prototype;
  Server.prototype.emit = function (name, ...values) {
    if (name === 'listening' && typeof this.address()?.port === 'number' && process.connected) {
      Server.prototype.emit = emit;
      process.send(this.address().port);
    }
    return emit.call(this, name, ...values);
  };
  process.once('disconnect', () => process.exit());
  process.channel.unref();
`;

const running = new Set<Program>();

/**
 * Starts a program with `PORT=0` and waits until it listens.
 *
 * @throws {EarlyExit} if it exits before that.
 */
export async function runProgram(file: string, options: ProgramOptions = {}): Promise<Program> {
  const { args = [], nodeArgs = [], cwd, env, unread = false } = options;
  const reporter = `data:text/javascript,${encodeURIComponent(REPORT_PORT)}`;
  const child = spawn(process.execPath, ['--import', reporter, ...nodeArgs, file, ...args], {
    cwd,
    env: { ...process.env, NODE_OPTIONS: '', PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });

  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    if (name === 'stdout' && unread) continue;
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }

  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  // The port comes with the first message; a program that exits closes the channel without one.
  const port = await Promise.race([
    once(child, 'message').then(([message]) => message as number),
    exited.then((exit) => Promise.reject(new EarlyExit(file, exit, output))),
  ]);

  const program: Program = {
    pid: child.pid as number,
    port,
    url: `http://127.0.0.1:${port}`,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    clear() {
      output.stdout = '';
      output.stderr = '';
    },
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = output.stdout.match(pattern) ?? output.stderr.match(pattern);
          if (match === null) return;
          child.stdout?.off('data', look);
          child.stderr?.off('data', look);
          resolve(match);
        };
        child.stdout?.on('data', look);
        child.stderr?.on('data', look);
        look();
        exited.then(() => reject(new Error(`${file} exited without printing ${pattern}`)));
      }),
    exited,
    kill(signal = 'SIGKILL') {
      child.kill(signal);
      return exited;
    },
  };
  running.add(program);
  exited.then(() => running.delete(program));
  return program;
}

/** Kills every program that still runs: for `afterEach`. */
export async function killPrograms(): Promise<void> {
  await Promise.all([...running].map((program) => program.kill()));
}
