import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { killPrograms, type Program, runProgram } from './support/run-program.js';

const README = readFileSync('README.md', 'utf8');
const EXAMPLES = [...README.matchAll(/```console\n((.*?)\n.*?)```/gs)].map(
  ([, text = '', firstLine = '']) => [firstLine, text] as const,
);
const [, MAKE_KEY = ''] =
  /^(openssl .* > jwt\.key)\nJWT_KEY_FILE=jwt\.key npm start$/m.exec(README) ?? [];

let folder: string;
let service: Program;
let terminal: Terminal | undefined;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'koa-sse-hub-readme-'));
  execFileSync('sh', ['-c', MAKE_KEY], { cwd: folder });
  service = await runProgram(resolve('dist/main.js'), {
    cwd: folder,
    env: { JOURNAL: 'memory:', JWT_KEY_FILE: 'jwt.key' },
  });
});

afterEach(async () => {
  await terminal?.close();
  terminal = undefined;
});

afterAll(async () => {
  await killPrograms();
  rmSync(folder, { recursive: true });
});

describe("the README's examples show what a terminal shows", () => {
  test('there are some', () => {
    expect(EXAMPLES.length).toBeGreaterThanOrEqual(3);
  });

  test.each(EXAMPLES)('%s', async (_, example) => {
    terminal = openTerminal();
    for (const step of example.split(/^\$ /m).slice(1)) {
      const [command = '', ...lines] = step.replace(/\n$/, '').split('\n');
      const shown = await terminal.type(command, lines.length);
      expect(piecesOf(shown)).toEqual(piecesOf(lines));
    }
  });
});

/** Two commands write at the same time: a line of the one may begin where a line of the other has not ended. */
function piecesOf(lines: readonly string[]): string[] {
  const text = lines.map(withoutVarying).join('\n');
  return text
    .split(/\n|(?=(?:id|event|data): )/)
    .filter(Boolean)
    .sort();
}

interface Terminal {
  /**
   * Types a command, and waits for so many lines, of the command and of those that run beside it. Which of them writes
   * first is left to chance.
   */
  type(command: string, lines: number): Promise<string[]>;
  close(): Promise<void>;
}

function openTerminal(): Terminal {
  const shell: ChildProcessByStdio<Writable, Readable, null> = spawn('sh', {
    cwd: folder,
    stdio: ['pipe', 'pipe', 'ignore'],
    detached: true, // A group of its own: with it end the commands that run on.
  });
  const exited = once(shell, 'exit');
  const shown: string[] = [];
  let line = '';
  let hasShown = (): void => undefined;
  shell.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = `${line}${text}`.split('\n');
    line = lines.pop() ?? '';
    shown.push(...lines);
    hasShown();
  });

  return {
    async type(command, lines) {
      shell.stdin.write(`${here(command)}\n`);
      await new Promise<void>((resolve) => {
        hasShown = () => shown.length >= lines && resolve();
        hasShown();
      });
      return shown.splice(0, lines);
    },
    async close() {
      process.kill(-(shell.pid as number), 'SIGKILL');
      await exited;
    },
  };
}

/** The command for this service, and without npm. */
function here(command: string): string {
  return command
    .replaceAll('localhost:3000', `127.0.0.1:${service.port}`)
    .replace('npm run --silent token --', `node '${resolve('dist/main.js')}' token`);
}

function withoutVarying(line: string): string {
  return line
    .replaceAll(/\d{13}-\d+/g, 'ID')
    .replaceAll(/\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT/g, 'DATE');
}
