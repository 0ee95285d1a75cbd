import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { endWithThis } from './end-with-this.js';

/** How long a test waits that is going to fail: whoever looks at the lines then sees what is missing. */
const PATIENCE_MS = 25_000;

/** A program that reads from a server, in a process of its own. */
export interface ClientProgram {
  readonly lines: Lines;
  /** Resolves with its exit code; `null` if a signal has ended it. */
  readonly ended: Promise<number | null>;
  stop(): Promise<unknown>;
}

/** Starts a command in a folder. Beside the environment of the tests it has `env`. */
export function startClientProgram(
  command: string,
  args: readonly string[],
  { cwd, env = {} }: { readonly cwd: string; readonly env?: Record<string, string> },
): ClientProgram {
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithThis(child, 'TERM');
  const lines = new Lines();
  child.stdout.setEncoding('utf8').on('data', (text: string) => lines.add(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => lines.addError(text));
  const ended = once(child, 'close').then(([code]) => {
    lines.end();
    return code as number | null;
  });
  return {
    lines,
    ended,
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
  };
}

/** What a program prints, line by line. */
export class Lines {
  readonly all: string[] = [];
  #rest = '';
  #errors = '';
  #hasEnded = false;
  #changed = (): void => undefined;

  add(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() as string;
    this.all.push(...lines);
    this.#changed();
  }

  /** What it says beside: nobody waits for that. */
  addError(text: string): void {
    this.#errors += text;
  }

  errors(): string {
    return this.#errors;
  }

  /** There will be no more. */
  end(): void {
    this.#hasEnded = true;
    this.#changed();
  }

  /** Resolves when there are so many lines, or will be no more, or none has come for long. */
  async have(count: number): Promise<void> {
    while (this.all.length < count && !this.#hasEnded) {
      const waited = await new Promise<'changed' | 'for long'>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS, 'for long');
        this.#changed = () => {
          clearTimeout(timer);
          resolve('changed');
        };
      });
      if (waited === 'for long') return;
    }
  }
}

/** A folder in which the packages of this repository are installed. Whoever made it removes it. */
export function folderWith(files: Iterable<readonly [name: string, text: string]>): {
  readonly path: string;
  remove(): void;
} {
  const path = mkdtempSync(join(tmpdir(), 'client-'));
  symlinkSync(resolve('node_modules'), join(path, 'node_modules'), 'junction');
  for (const [name, text] of files) writeFileSync(join(path, name), text);
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/** A page that runs `/script.js`. It says that it has no icon: browsers would ask for one. */
export const MODULE_PAGE =
  '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/script.js"></script>';

/** A module with all that it imports, as one script for a browser. */
export function bundle(folder: string, module: string): string {
  writeFileSync(join(folder, 'start.js'), module);
  const options = ['--bundle', '--format=esm', '--log-level=warning', 'start.js'];
  return execFileSync(resolve('node_modules/.bin/esbuild'), options, {
    cwd: folder,
    encoding: 'utf8',
  });
}
