import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { DEFAULT_PREFIX } from '../src/journal/redis/url.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';

const PROTOCOL = readFileSync('docs/protocol.md', 'utf8');

interface Block {
  readonly language: string;
  readonly text: string;
}

interface Step {
  readonly command: string;
  /** What the command prints, followed by what the streams print that run beside it. */
  readonly output: string[];
}

/** The sections with their examples, which build on those before them. */
const SECTIONS = PROTOCOL.split(/^## /m).map((section) => {
  const [title = ''] = section.split('\n');
  const blocks = [...section.matchAll(/^```(console|js|text)\n(.*?)^```$/gms)];
  return [
    title,
    blocks.map(([, language = '', text = '']): Block => ({ language, text })),
  ] as const;
});

/** What the shell of the examples has been told: its variables. */
const variables: Record<string, string> = {};
/** What stands in the document for what this run has, such as ids. */
const bound = new Map<string, string>();
const streams: Stream[] = [];
let service: Program | undefined;
/** What the page of the example has written to its console, and its streams. */
const page: { readonly lines: string[]; readonly clients: SseClient[] } = {
  lines: [],
  clients: [],
};
let pageHasWritten = (): void => undefined;

beforeAll(() => {
  variables.JWT_KEY = JWT_KEY;
});

afterEach(leaveStreams);

afterAll(async () => {
  for (const client of page.clients) client.abort();
  await killPrograms();
});

describe('docs/protocol.md', () => {
  test.each(SECTIONS)('%s', async (_, blocks) => {
    expect(blocks.some(({ language }) => language === 'console')).toBe(true);
    for (const { language, text } of blocks) {
      if (language === 'console') for (const step of stepsOf(text)) await run(step);
      if (language === 'js') await openPage(text);
      if (language === 'text') await untilMatching(text.trimEnd().split('\n'), pageOutput);
      await leaveStreams();
    }
  });

  test('names only settings that there are', () => {
    const config = readFileSync('src/config.ts', 'utf8');
    for (const [name] of PROTOCOL.matchAll(/\b[A-Z]+_[A-Z_]+\b/g)) expect(config).toContain(name);
  });
});

describe('docs/operations.md', () => {
  const OPERATIONS = readFileSync('docs/operations.md', 'utf8');

  test('has every setting, each with its default', () => {
    const config = readFileSync('src/config.ts', 'utf8');
    const settings = [...config.matchAll(/^ {2}([A-Z_]+): .*$/gm)];
    expect(settings.length).toBeGreaterThan(15);
    for (const [line, name] of settings) {
      const row = OPERATIONS.split('\n').find((row) => row.startsWith(`| \`${name}\` |`));
      if (row === undefined) throw new Error(`${name} is missing from the table.`);
      const [, fallback] = /\.(?:default|prefault)\(('[^']*'|[\w*\s]+)\)/.exec(line) ?? [];
      if (fallback === undefined) continue;
      const value = /^\d/.test(fallback)
        ? String(
            fallback.split('*').reduce((product, n) => product * Number(n.replace(/_/g, '')), 1),
          )
        : fallback.replaceAll("'", '').replace('DEFAULT_PREFIX', DEFAULT_PREFIX);
      expect(row).toContain(`\`${value}\``);
    }
  });

  test('names no setting that there is not', () => {
    const config = readFileSync('src/config.ts', 'utf8');
    for (const [, name] of OPERATIONS.matchAll(/^\| `([A-Z_]+)` \|/gm)) {
      expect(config).toContain(`  ${name}: `);
    }
  });
});

function stepsOf(text: string): Step[] {
  return text
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [command = '', ...output] = step.split('\n');
      return { command, output };
    });
}

async function run({ command, output }: Step): Promise<void> {
  const [, exported, name, value = ''] =
    /^(export )?([A-Z_]+)=(\S+\(.*\)|\S+)$/.exec(command) ?? [];
  if (command.endsWith('npm start &')) {
    await startService(command);
  } else if (command === 'kill %1') {
    await service?.kill('SIGTERM');
  } else if (exported !== undefined) {
    // The key of the tests, so that they need no openssl.
    expect(variables).toHaveProperty(name ?? '');
  } else if (name !== undefined) {
    variables[name] = await shell(`printf %s ${value}`);
  } else if (/^curl\b.* -\w*N/.test(command)) {
    const stream = await openStream(command.replace(/ &$/, ''));
    await untilMatching(output, streamOutput);
    if (!command.endsWith(' &')) await stream.leave();
  } else {
    const own = await shell(command);
    await untilMatching(output, () => `${own}${/(^|\n)$/.test(own) ? '' : '\n'}${streamOutput()}`);
  }
  for (const stream of streams) stream.taken = stream.text.length;
}

async function startService(command: string): Promise<void> {
  const settings = command.matchAll(/(\w+)=(\S+) /g);
  const env = Object.fromEntries([...settings].map(([, name, value]) => [name, value]));
  service = await runProgram('dist/main.js', { env: { JWT_KEY, ...env } });
  await service.printed(/^koa-sse-hub listens on /);
}

/** A command as this run has it: its own service, its own ids, and npm scripts without npm. */
function here(command: string): string {
  return withBound(command)
    .replaceAll('localhost:3000', `localhost:${service?.port}`)
    .replaceAll('npm run --silent token --', `node '${resolve('dist/main.js')}' token`)
    .replace(/\bcurl /, 'curl -sS ');
}

async function shell(command: string): Promise<string> {
  const env = { ...process.env, ...variables };
  return new Promise((resolve, reject) => {
    execFile('sh', ['-c', here(command)], { env }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${command}: ${stderr}`));
      else resolve(stdout);
    });
  });
}

interface Stream {
  text: string;
  /** How much of the text was there when the step before this one ended. */
  taken: number;
  leave(): Promise<void>;
}

let streamHasPrinted = (): void => undefined;

/** Starts a command that runs on, and resolves when the head of the answer is there: it is subscribed. */
async function openStream(command: string): Promise<Stream> {
  const env = { ...process.env, ...variables };
  const child: ChildProcess = spawn('sh', ['-c', `exec ${here(command)} -v`], { env });
  const closed = once(child, 'close');
  const stream: Stream = {
    text: '',
    taken: 0,
    async leave() {
      child.kill();
      await closed;
      streams.splice(streams.indexOf(stream), 1);
    },
  };
  streams.push(stream);
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stream.text += text;
    streamHasPrinted();
  });
  let log = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (/^< HTTP\/1\.1 200 OK\r?$(.|\n|\r)*^< ?\r?$/m.test(log)) resolve();
    });
    closed.then(() => reject(new Error(`${command}: ${log}`)));
  });
  return stream;
}

function streamOutput(): string {
  return streams.map(({ text, taken }) => text.slice(taken)).join('');
}

async function leaveStreams(): Promise<void> {
  await Promise.all([...streams].map((stream) => stream.leave()));
}

/** Resolves when what was printed is what the document says; fails with both after a while. */
async function untilMatching(expected: string[], printed: () => string): Promise<void> {
  const lines = expected.filter((line) => line !== '^C').map((line) => line.trimEnd());
  const text = lines.join('\n').trimEnd();
  if (text === '…') return;
  const look = (): boolean => matches(text, normalized(printed()));
  if (look()) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, 5_000);
    streamHasPrinted = pageHasWritten = () => {
      if (!look()) return;
      clearTimeout(timer);
      resolve();
    };
  });
  streamHasPrinted = pageHasWritten = () => undefined;
  if (!look()) expect(normalized(printed())).toBe(withBound(text));
}

function normalized(printed: string): string {
  return printed
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
    .trimEnd();
}

/** What is another in each run: ids, and the names of subscribers. */
const VARYING = /(?<!\d)\d{13}-\d+\b|(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g;

function withBound(text: string): string {
  return text
    .replace(VARYING, (value) => bound.get(value) ?? value)
    .replaceAll('localhost:3000', `localhost:${service?.port}`);
}

/** Compares; a line that is `…` stands for any lines. Remembers what ids of the document stand for. */
function matches(expected: string, printed: string): boolean {
  const free: string[] = [];
  const pattern = expected
    .replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    .replace(/^…\n/gm, '(?:.*\\n)*?')
    .replace(/\n…$/, '(?:\\n.*)*')
    .replace(VARYING, (value) => {
      const known = bound.get(value);
      if (known !== undefined) return known;
      const index = free.indexOf(value);
      if (index >= 0) return `\\${index + 1}`;
      free.push(value);
      return `(${VARYING.source})`;
    });
  const match = new RegExp(`^${pattern}$`).exec(printed);
  if (match === null) return false;
  const values = free.map((_, index) => match[index + 1] as string);
  // Two ids of the document are two ids here.
  if (values.some((value) => [...bound.values()].includes(value))) return false;
  free.forEach((value, index) => {
    bound.set(value, values[index] as string);
  });
  return new Set(values).size === values.length;
}

/** Runs the script of a page, with as much of an `EventSource` as it uses; it never reconnects. */
async function openPage(script: string): Promise<void> {
  const opened: Promise<void>[] = [];

  class EventSource {
    static readonly CLOSED = 2;
    readonly readyState = 1;
    onmessage: ((event: object) => void) | undefined;
    onerror: (() => void) | undefined;
    readonly #listeners = new Map<string, (event: object) => void>();

    constructor(url: URL) {
      opened.push(this.#open(url));
    }

    addEventListener(type: string, listener: (event: object) => void): void {
      this.#listeners.set(type, listener);
    }

    async #open(url: URL): Promise<void> {
      const client = await connect(String(url));
      page.clients.push(client);
      const dispatch = async (): Promise<never> => {
        for (;;) {
          const { event = 'message', data, id: lastEventId } = await client.next();
          const listener = event === 'message' ? this.onmessage : this.#listeners.get(event);
          listener?.({ data, lastEventId });
          pageHasWritten();
        }
      };
      dispatch().catch(() => this.onerror?.());
    }
  }

  const console = { log: (...values: unknown[]) => page.lines.push(values.join(' ')) };
  const code = script.replaceAll('localhost:3000', `localhost:${service?.port}`);
  new Function('EventSource', 'console', code)(EventSource, console);
  await Promise.all(opened);
}

function pageOutput(): string {
  return page.lines.join('\n');
}
