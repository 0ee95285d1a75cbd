import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { bundle, folderWith, MODULE_PAGE, startClientProgram } from './support/client-program.js';

const CLIENTS = readFileSync('docs/clients.md', 'utf8');

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

let browser: Browser;
let cleanUp: (() => unknown)[] = [];

beforeAll(async () => {
  browser = await launchBrowser();
});

afterEach(async () => {
  for (const action of cleanUp.toReversed()) await action();
  cleanUp = [];
});

afterAll(() => browser.close());

describe('docs/clients.md', () => {
  test('its table says what each client does by itself', async () => {
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
  const folder = folderWith([['program.mjs', bareProgram(program, url)]]);
  cleanUp.push(folder.remove);
  const client = startClientProgram(process.execPath, ['program.mjs'], { cwd: folder.path });
  cleanUp.push(client.stop);
  await client.lines.have(1);
  return JSON.parse(client.lines.all[0] ?? JSON.stringify({ error: client.lines.errors() }));
}

async function openBare(server: Situations, program: string): Promise<Record<string, string>> {
  const folder = folderWith([]);
  cleanUp.push(folder.remove);
  server.files.set('page', MODULE_PAGE);
  server.files.set('script.js', bundle(folder.path, bareProgram(program, server.url)));
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
