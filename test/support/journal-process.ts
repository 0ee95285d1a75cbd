import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { EntryRef, Update } from '../../src/journal/journal.js';

const run = promisify(execFile);
const projectPath = (path: string): string =>
  fileURLToPath(new URL(`../../${path}`, import.meta.url));

export interface JournalProcess {
  readonly process: ChildProcess;
  append(updates: readonly Update[]): Promise<readonly EntryRef[]>;
  call(method: string, ...args: unknown[]): Promise<unknown>;
  /** Ends it without a chance to do anything about it. */
  kill(): Promise<void>;
}

export interface JournalProcessOptions {
  readonly sync?: 'disk' | 'os';
  /** Files cannot grow beyond this, until {@link liftFileLimit}. */
  readonly maxFileKiB?: number;
  /** The user that it runs as, if this one may choose. */
  readonly uid?: number;
}

/**
 * Builds {@link file://./journal-child.ts} and gives what starts it. A process that cannot open its journal
 * is an error with the message and code of that.
 */
export async function buildJournalProcess(): Promise<{
  start(path: string, options?: JournalProcessOptions): Promise<JournalProcess>;
  remove(): Promise<void>;
}> {
  // Beside node_modules, where its imports are looked for; readable for every user.
  const directory = await mkdtemp(projectPath('node_modules/.journal-child-'));
  await chmod(directory, 0o755);
  const script = join(directory, 'child.mjs');
  await run(projectPath('node_modules/.bin/esbuild'), [
    projectPath('test/support/journal-child.ts'),
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--packages=external',
    `--outfile=${script}`,
  ]);
  return {
    start: (path, options = {}) => start(script, path, options),
    remove: () => rm(directory, { recursive: true }),
  };
}

/** Whether this system can let a process's files grow again. */
export const canLiftFileLimit = process.platform === 'linux';

export async function liftFileLimit({ process: { pid } }: JournalProcess): Promise<void> {
  await run('prlimit', ['--pid', `${pid}`, '--fsize=unlimited:unlimited']);
}

export function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'journal-'));
}

async function start(
  script: string,
  path: string,
  { sync = 'disk', maxFileKiB, uid }: JournalProcessOptions,
): Promise<JournalProcess> {
  const node = [process.execPath, script, `lmdb:${path}`, sync];
  const command =
    maxFileKiB === undefined
      ? node
      : ['bash', '-c', `ulimit -S -f ${maxFileKiB} && exec "$@"`, 'bash', ...node];
  const child = spawn(command[0] as string, command.slice(1), {
    // LMDB tells of failed writes there, which are failed on purpose here.
    stdio: ['pipe', 'pipe', 'ignore'],
    ...(uid === undefined ? {} : { uid }),
  });
  const exited = once(child, 'exit');
  const calls = new Map<number, PromiseWithResolvers<unknown>>();
  let lastCall = 0;
  const opened = defer();
  calls.set(0, opened);

  createInterface({ input: child.stdout }).on('line', (line) => {
    const { call, value, error } = JSON.parse(line);
    const waiting = calls.get(call);
    calls.delete(call);
    if (error) waiting?.reject(Object.assign(new Error(error.message), { code: error.code }));
    else waiting?.resolve(value);
  });
  child.stdin.on('error', () => {}); // It may be killed while it is written to.
  exited.then(() => {
    for (const { reject } of calls.values()) reject(new Error('The process has ended.'));
  });

  const call = (method: string, ...args: unknown[]): Promise<unknown> => {
    const answer = defer();
    calls.set(++lastCall, answer);
    child.stdin.write(`${JSON.stringify([lastCall, method, ...args])}\n`);
    return answer.promise;
  };
  await opened.promise;
  return {
    process: child,
    call,
    append: (updates) => call('append', updates) as Promise<readonly EntryRef[]>,
    kill: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

interface PromiseWithResolvers<T> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: Error): void;
}

function defer(): PromiseWithResolvers<unknown> {
  let settle: Omit<PromiseWithResolvers<unknown>, 'promise'> | undefined;
  const promise = new Promise<unknown>((resolve, reject) => {
    settle = { resolve, reject };
  });
  return { promise, ...(settle as Omit<PromiseWithResolvers<unknown>, 'promise'>) };
}
