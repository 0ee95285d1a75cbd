import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { endWithThis } from './support/end-with-this.js';
import { type FailingProxy, startFailingProxy } from './support/failing-proxy.js';
import { freePort } from './support/free-port.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { tokenFor } from './support/tokens.js';

const CLIENTS = readFileSync('docs/clients.md', 'utf8');
const FILES = new Map(
  [...CLIENTS.matchAll(/^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$/gms)].map(
    ([, name = '', code = '']) => [name, code] as const,
  ),
);

/** The programs of the page that are run; the other files are what those import. */
const RECIPES = [
  { file: 'page.js', where: 'browser', begin: 'newestId' },
  { file: 'fetch-event-source.js', where: 'browser', begin: 'first frame' },
  { file: 'eventsource.mjs', where: 'node', begin: 'newestId' },
  { file: 'eventsource-client.mjs', where: 'node', begin: 'newestId' },
  { file: 'undici.mjs', where: 'node', begin: 'first frame' },
  { file: 'fetch.mjs', where: 'node', begin: 'newestId' },
  { file: 'follow.py', where: 'python3', begin: 'first frame' },
  { file: 'follow.sh', where: 'sh', begin: 'first frame' },
] as const;
type Recipe = (typeof RECIPES)[number];

/** A client as it is without any setting but a header, where it has one: `open` starts it and tells what happens. */
interface Bare {
  readonly where: 'browser' | 'node';
  readonly program: string;
}

const LISTEN = `
  for (const name of ['message', 'gap', 'break']) source.addEventListener(name, () => tell(name));
  source.addEventListener('error', () => {
    if (source.readyState === 2) tell('gives up');
  });
  return () => source.close();`;

const BARE: Readonly<Record<string, Bare>> = {
  "a browser's `EventSource`": {
    where: 'browser',
    program: `function open(url, headers, tell) {
      const source = new EventSource(url, { headers });
      ${LISTEN}
    }`,
  },
  'fetch-event-source': {
    where: 'browser',
    program: `import { fetchEventSource } from '@microsoft/fetch-event-source';
    function open(url, headers, tell) {
      const leave = new AbortController();
      const onmessage = ({ event, data }) => data !== '' && tell(event || 'message');
      fetchEventSource(url, { headers, signal: leave.signal, onmessage }).then(() => tell('gives up'));
      return () => leave.abort();
    }`,
  },
  eventsource: {
    where: 'node',
    program: `import { EventSource } from 'eventsource';
    function open(url, headers, tell) {
      const source = new EventSource(url, {
        fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
      });
      ${LISTEN}
    }`,
  },
  'eventsource-client': {
    where: 'node',
    program: `import { createEventSource } from 'eventsource-client';
    function open(url, headers, tell) {
      const onMessage = ({ event = 'message' }) => tell(event);
      const lookAgain = () => queueMicrotask(() => client.readyState === 'closed' && tell('gives up'));
      const client = createEventSource({ url, headers, onMessage, onDisconnect: lookAgain });
      return () => client.close();
    }`,
  },
  "undici's `EventSource`": {
    where: 'node',
    program: `import { Agent, EventSource } from 'undici';
    setInterval(() => {}, 60_000);
    function open(url, headers, tell) {
      const dispatcher = new Agent().compose((dispatch) => (options, handler) =>
        dispatch({ ...options, headers: { ...options.headers, ...headers } }, handler));
      const source = new EventSource(url, { node: { dispatcher } });
      ${LISTEN}
    }`,
  },
};

/**
 * What the server does with the requests of a situation, one after the other: it answers with a status, ends a stream in
 * order, resets the connection, or breaks a stream off when its client has this frame. To those after them it says `back`.
 */
const SITUATIONS = {
  headers: [],
  'first id': ['retry: 20\nid: 1'],
  'clean end': ['END'],
  '502': ['retry: 20', 502],
  network: ['retry: 20', 'RESET'],
  gap: ['event: gap\ndata: {}'],
  '204': ['retry: 20', 204],
  'short retry': Array(1_000).fill('retry: 20'),
  'no retry': [':'],
} as const satisfies Record<string, readonly (string | number)[]>;
type Situation = keyof typeof SITUATIONS;

/** A frame of which the end never comes. A client that came back with its id would be told a gap. */
const HALF_A_FRAME = 'id: never-whole\nevent: headline\ndata: cut off';

/** How long a test waits that is going to fail: whoever looks at the lines then sees what is missing. */
const PATIENCE_MS = 12_000;

let browser: Browser;
let cleanUp: (() => unknown)[] = [];

beforeAll(async () => {
  browser = await launchBrowser();
});

afterEach(async () => {
  for (const action of cleanUp.toReversed()) await action();
  cleanUp = [];
  await killPrograms();
});

afterAll(() => browser.close());

describe('docs/clients.md', () => {
  test('has no program that is not run', () => {
    const imported = ['newest-id.mjs', 'follow.js'];
    expect([...FILES.keys()].toSorted()).toEqual(
      [...RECIPES.map(({ file }) => file), ...imported].toSorted(),
    );
  });

  test('its programs get each update once and in order, and stop at 204', async () => {
    const token = await tokenFor();
    const journal = mkdtempSync(join(tmpdir(), 'recipes-journal-'));
    cleanUp.push(() => rmSync(journal, { recursive: true }));
    const port = await freePort();
    let service = await startService(port, journal);
    const clients = await Promise.all(RECIPES.map((recipe) => run(recipe, port, token)));
    const each = (action: (client: Client) => unknown) =>
      Promise.all(
        clients.map(async (client) => {
          try {
            return await action(client);
          } catch (cause) {
            throw new Error(`${client.file}: ${cause}`, { cause });
          }
        }),
      );
    const expected: string[] = [];
    const publish = async (...headlines: string[]) => {
      for (const data of headlines) {
        expected.push(`${await publishPrivately(service, token, data)} ${data}`);
      }
    };
    const allArrive = async () => {
      await each(({ lines }) => lines.have(expected.length));
      // One look for all: a failure shows whose lines are wrong.
      expect(Object.fromEntries(clients.map(({ file, lines }) => [file, lines.all]))).toEqual(
        Object.fromEntries(RECIPES.map(({ file }) => [file, expected])),
      );
    };

    // They are cut off before their first update, and it comes while they are away.
    await each(({ proxy, begin }) => proxy.hasDone('pass', begin === 'newestId' ? 2 : 1));
    await each(({ proxy }) => {
      proxy.behave(502);
      proxy.endStreams();
    });
    await publish('while away');
    await each(({ proxy }) => proxy.behave('pass'));
    await allArrive();
    await publish('live');
    await allArrive();

    // The service is killed and starts again, while a proxy says 502.
    await each(({ proxy }) => {
      proxy.behave(502);
      proxy.endStreams(HALF_A_FRAME);
    });
    await service.kill('SIGKILL');
    await each(({ proxy }) => proxy.hasDone(502, 2));
    service = await startService(port, journal);
    await publish('after a kill', 'and another');
    await each(({ proxy }) => proxy.behave('pass'));
    await allArrive();

    // The network is away.
    await each(({ proxy }) => proxy.behave('reset'));
    await publish('off the network');
    await each(({ proxy }) => proxy.hasDone('reset'));
    await each(({ proxy }) => proxy.behave('pass'));
    await allArrive();

    // The service is restarted in order: it ends the streams, and connections are refused for a while.
    await service.kill('SIGTERM');
    service = await startService(port, journal);
    await publish('after a restart');
    await allArrive();

    // There will be no more.
    await each(({ proxy }) => {
      proxy.behave(204);
      proxy.endStreams();
    });
    expected.push('ended');
    expect(await each(({ ended }) => ended)).toEqual(RECIPES.map(() => 0));
    await allArrive();
    for (const { where, proxy } of clients) {
      // The browser's function asks for the status that its EventSource does not tell.
      expect(proxy.answers(204)).toBeLessThanOrEqual(where === 'browser' ? 2 : 1);
    }
  }, 60_000);

  test('its programs end when they are refused, and say so', async () => {
    const port = await freePort();
    await startService(port);
    const clients = await Promise.all(RECIPES.map((recipe) => run(recipe, port, 'bad')));
    for (const { file, where, lines, ended } of clients) {
      expect([file, await ended]).toEqual([file, where === 'browser' ? 0 : 1]);
      expect([file, lines.all.join('\n') + lines.errors()]).toEqual([
        file,
        expect.stringMatching(/(refused:|answered) 401/),
      ]);
    }
  }, 60_000);
});

describe('the table of docs/clients.md', () => {
  test('says what each client does by itself', async () => {
    const names = Object.keys(BARE);
    const rows = await Promise.all(names.map(behaviourOf));
    expect(Object.fromEntries(names.map((name) => [name, rowOf(name)]))).toEqual(
      Object.fromEntries(names.map((name, index) => [name, rows[index]])),
    );
  });
});

/** A row of the table, as it is found. */
async function behaviourOf(name: string): Promise<Record<string, string | undefined>> {
  const server = await startSituations();
  const { where, program } = BARE[name] as Bare;
  const found = await (where === 'browser' ? openBare(server, program) : runBare(server, program));
  return {
    'sends headers': server.had('headers', 'x-test') ? 'yes' : 'no',
    'keeps the first id': server.had('first id', 'last-event-id') ? 'yes' : 'no',
    'after a clean end': found['clean end'],
    'after 502': found['502'],
    'after a network error': found.network,
    'obeys `retry`': server.cameSooner() ? 'yes' : 'no',
    'at 204': found['204'],
    'tells a `gap`': found.gap === 'gap' ? 'yes' : 'no',
  };
}

/** One of the programs, at work against a service behind a proxy of its own. */
interface Client {
  readonly file: string;
  readonly where: string;
  readonly begin: string;
  readonly proxy: FailingProxy;
  readonly lines: Lines;
  /** How it ended: its exit code; 0 for a page that said so. */
  readonly ended: Promise<number | null>;
}

/** What a program prints, line by line. */
class Lines {
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

function startService(port: number, journal?: string): Promise<Program> {
  const env = { PORT: String(port), JWT_KEY, HOST: '127.0.0.1' };
  return runProgram('dist/main.js', {
    env: { ...env, JOURNAL: journal === undefined ? 'memory:' : `lmdb:${journal}` },
  });
}

/** Only clients whose token arrives get it. */
async function publishPrivately(service: Program, token: string, data: string): Promise<string> {
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams({ topic: 'news', type: 'headline', data, retry: '50', private: '' }),
  });
  expect(response.status).toBe(200);
  return response.text();
}

function run(recipe: Recipe, port: number, token: string): Promise<Client> {
  return recipe.where === 'browser'
    ? runPage(recipe, port, token)
    : runCommand(recipe, port, token);
}

/** The programs in a folder, for a hub at this port. */
function savePrograms(port: number): string {
  return saveFiles(
    [...FILES].map(([name, text]) => [
      name,
      text.replaceAll('localhost:3000', `127.0.0.1:${port}`),
    ]),
  );
}

/** Files in a folder in which the packages that they import are installed. */
function saveFiles(files: readonly (readonly [name: string, text: string])[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'recipes-'));
  cleanUp.push(() => rmSync(directory, { recursive: true }));
  symlinkSync(resolve('node_modules'), join(directory, 'node_modules'), 'junction');
  for (const [name, text] of files) writeFileSync(join(directory, name), text);
  return directory;
}

async function runCommand(recipe: Recipe, port: number, token: string): Promise<Client> {
  const proxy = await openProxy(port);
  const command = recipe.where === 'node' ? process.execPath : recipe.where;
  const child = spawn(command, [recipe.file], {
    cwd: savePrograms(proxy.port),
    env: { ...process.env, NODE_OPTIONS: '', TOKEN: token },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endWithThis(child, 'TERM');
  cleanUp.push(() => endOf(child));
  const lines = new Lines();
  child.stdout.setEncoding('utf8').on('data', (text: string) => lines.add(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => lines.addError(text));
  const ended = once(child, 'close').then(([code]) => {
    lines.end();
    return code as number | null;
  });
  return { ...recipe, proxy, lines, ended };
}

async function endOf(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

async function openProxy(...args: Parameters<typeof startFailingProxy>): Promise<FailingProxy> {
  const proxy = await startFailingProxy(...args);
  cleanUp.push(() => proxy.close());
  return proxy;
}

/** A page of the proxy's own origin that runs the program, with its token in a cookie or from the page. */
async function runPage(recipe: Recipe, port: number, token: string): Promise<Client> {
  const files = new Map([['/page', { type: 'text/html', text: MODULE_PAGE }]]);
  const proxy = await openProxy(port, files);
  const saved = savePrograms(proxy.port);
  const START =
    recipe.file === 'page.js'
      ? `import './page.js';`
      : `import { followNews } from './fetch-event-source.js';
         followNews(${JSON.stringify(token)}).catch(({ message }) => console.log(message));`;
  files.set('/script.js', { type: 'text/javascript', text: bundle(saved, START) });

  const context = await browser.newContext();
  cleanUp.push(() => context.close());
  await context.addCookies([
    { name: 'mercureAuthorization', value: token, url: proxy.url, httpOnly: true },
  ]);
  const page = await context.newPage();
  const lines = new Lines();
  const ended = new Promise<number>((resolve) => {
    page.on('console', (message) => {
      if (message.type() !== 'log') return;
      lines.add(`${message.text()}\n`);
      if (!/^(ended|refused: \d+)$/.test(message.text())) return;
      lines.end();
      resolve(0);
    });
  });
  await page.goto(`${proxy.url}/page`);
  return { ...recipe, proxy, lines, ended };
}

/** Without an icon: browsers ask for one. */
const MODULE_PAGE =
  '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/script.js"></script>';

/** One server in which each path is a situation. */
interface Situations {
  readonly url: string;
  /** The files that it serves beside. */
  readonly files: Map<string, string>;
  /** Whether a request of the situation had this header. */
  had(situation: Situation, header: string): boolean;
  /** Whether the client that was told a short `retry` came back more often than the one that was told none. */
  cameSooner(): boolean;
}

async function startSituations(): Promise<Situations> {
  const requests = new Map<string, IncomingHttpHeaders[]>();
  const open = new Map<string, Socket>();
  const files = new Map<string, string>();
  let soonerThanOther = 0;
  const server = createServer(({ url = '', headers, socket }, response) => {
    const path = decodeURIComponent(url.slice(1));
    const file = files.get(path);
    if (file !== undefined) {
      const type = path.endsWith('.js') ? 'text/javascript' : 'text/html';
      response.writeHead(200, { 'Content-Type': type }).end(file);
      return;
    }
    if (path.startsWith('break ')) {
      open.get(path.slice('break '.length))?.destroy();
      response.end();
      return;
    }
    const script: readonly (string | number)[] | undefined = SITUATIONS[path as Situation];
    if (script === undefined) {
      response.writeHead(404).end();
      return;
    }
    const before = requests.get(path) ?? [];
    requests.set(path, [...before, headers]);
    const action = script[before.length];
    if (path === 'no retry' && action === undefined) {
      soonerThanOther = requests.get('short retry')?.length ?? 0;
    }
    if (action === 'RESET') {
      socket.resetAndDestroy();
      return;
    }
    if (typeof action === 'number') {
      response.writeHead(action).end();
      return;
    }
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    if (action === undefined) response.write('data: back\n\n');
    else if (action === 'END') response.end('retry: 20\n\n');
    else {
      open.set(path, socket);
      response.write(`${action}\n\nevent: break\ndata: now\n\n`);
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  cleanUp.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    files,
    had: (situation, header) =>
      requests.get(situation)?.some((headers) => headers[header] !== undefined) === true,
    cameSooner: () => soonerThanOther > 2,
  };
}

/** A program that lets the client meet one situation after the other, and prints what it did in each. */
function bareProgram(program: string, url: string): string {
  const alone = Object.keys(SITUATIONS).filter((name) => !name.endsWith('retry'));
  return `${program}
    const meet = (paths) => new Promise((resolve) => {
      const leave = [];
      const hear = (path, what) => {
        // A body that breaks off has no end, which is an error of the network.
        if (what === 'break') return fetch('${url}/' + encodeURIComponent('break ' + path));
        // After this turn: not all clients can be left while they are being opened.
        setTimeout(() => leave.forEach((each) => each()));
        resolve({ message: 'comes back' }[what] ?? what);
      };
      for (const path of paths) {
        const tell = (what) => hear(path, what);
        leave.push(open('${url}/' + encodeURIComponent(path), { 'x-test': 'yes' }, tell));
      }
    });
    const found = {};
    for (const situation of ${JSON.stringify(alone)}) {
      found[situation] = await meet([situation]);
    }
    await meet(['no retry', 'short retry']);
    console.log(JSON.stringify(found));`;
}

async function runBare({ url }: Situations, program: string): Promise<Record<string, string>> {
  const args = ['--input-type=module', '--eval', bareProgram(program, url)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  endWithThis(child, 'TERM');
  cleanUp.push(() => endOf(child));
  const lines = new Lines();
  child.stdout.setEncoding('utf8').on('data', (text: string) => lines.add(text));
  child.once('close', () => lines.end());
  await lines.have(1);
  return JSON.parse(lines.all[0] ?? '{}');
}

async function openBare(server: Situations, program: string): Promise<Record<string, string>> {
  server.files.set('page', MODULE_PAGE);
  server.files.set('script.js', bundle(saveFiles([]), bareProgram(program, server.url)));
  const context = await browser.newContext();
  cleanUp.push(() => context.close());
  const page = await context.newPage();
  const printed = page.waitForEvent('console', (message) => message.type() === 'log');
  await page.goto(`${server.url}/page`);
  return JSON.parse((await printed).text());
}

/** What the table says of a client, by column. */
function rowOf(name: string): Record<string, string> {
  const table = CLIENTS.split('\n').filter((line) => line.startsWith('| '));
  const cells = (line = '') =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const [, ...columns] = cells(table[0]);
  const row = table.find((line) => line.includes(`| [${name}](`));
  const [, ...values] = cells(row);
  return Object.fromEntries(columns.map((column, index) => [column, values[index] ?? '']));
}

/** A module with all that it imports, as one script for a browser. */
function bundle(directory: string, module: string): string {
  writeFileSync(join(directory, 'start.js'), module);
  const options = ['--bundle', '--format=esm', '--log-level=warning', 'start.js'];
  return execFileSync(resolve('node_modules/.bin/esbuild'), options, {
    cwd: directory,
    encoding: 'utf8',
  });
}
