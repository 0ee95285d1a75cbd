import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import {
  bundle,
  type ClientProgram,
  folderWith,
  Lines,
  MODULE_PAGE,
  startClientProgram,
} from './support/client-program.js';
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

/** A frame of which the end never comes. A client that came back with its id would be told a gap. */
const HALF_A_FRAME = 'id: never-whole\nevent: headline\ndata: cut off';

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
        expected.push(`${await publishPrivately(service, token, { data })} ${data}`);
      }
    };
    const allArrive = () => allHave(clients, expected);

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

    // The topic ends.
    const data = 'the last';
    const id = await publishPrivately(service, token, { data, last: 'on' });
    expected.push(`${id} ${data}`, 'ended');
    await allArrive();
    expect(await each(({ ended }) => ended)).toEqual(RECIPES.map(() => 0));
    for (const { file, proxy } of clients) {
      // The function of page.js asks for the status that an EventSource does not tell.
      expect([file, proxy.answers(204)]).toEqual([file, file === 'page.js' ? 2 : 1]);
    }
  }, 90_000);

  test('its programs that begin when the topic has ended get what is held, and stop', async () => {
    const token = await tokenFor();
    const port = await freePort();
    const service = await startService(port);
    const updates = [{ data: 'a' }, { data: 'b' }, { data: 'c', last: 'on' }];
    const expected: string[] = [];
    for (const update of updates) {
      expected.push(`${await publishPrivately(service, token, update)} ${update.data}`);
    }
    const clients = await Promise.all(RECIPES.map((recipe) => run(recipe, port, token)));
    await allHave(clients, [...expected, 'ended']);
  }, 90_000);

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
  }, 90_000);
});

/** One of the programs, at work against a service behind a proxy of its own. A page ends with 0. */
interface Client extends Pick<ClientProgram, 'lines' | 'ended'> {
  readonly file: string;
  readonly where: string;
  readonly begin: string;
  readonly proxy: FailingProxy;
}

function startService(port: number, journal?: string): Promise<Program> {
  const env = { PORT: String(port), JWT_KEY, HOST: '127.0.0.1' };
  return runProgram('dist/main.js', {
    env: { ...env, JOURNAL: journal === undefined ? 'memory:' : `lmdb:${journal}` },
  });
}

/** Only clients whose token arrives get it. */
async function publishPrivately(
  service: Program,
  token: string,
  update: Readonly<Record<string, string>>,
): Promise<string> {
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}` },
    body: new URLSearchParams({
      topic: 'news',
      type: 'headline',
      retry: '50',
      private: 'on',
      ...update,
    }),
  });
  expect(response.status).toBe(200);
  return response.text();
}

/** Waits until each program has printed so many lines. One look for all shows whose are wrong. */
async function allHave(clients: readonly Client[], expected: readonly string[]): Promise<void> {
  await Promise.all(clients.map(({ lines }) => lines.have(expected.length)));
  expect(Object.fromEntries(clients.map(({ file, lines }) => [file, lines.all]))).toEqual(
    Object.fromEntries(clients.map(({ file }) => [file, expected])),
  );
}

function run(recipe: Recipe, port: number, token: string): Promise<Client> {
  return recipe.where === 'browser'
    ? runPage(recipe, port, token)
    : runCommand(recipe, port, token);
}

/** A folder with the programs, for a hub at this port. */
function savePrograms(port: number): string {
  const folder = folderWith(
    [...FILES].map(([name, text]) => [
      name,
      text.replaceAll('localhost:3000', `127.0.0.1:${port}`),
    ]),
  );
  cleanUp.push(folder.remove);
  return folder.path;
}

async function runCommand(recipe: Recipe, port: number, token: string): Promise<Client> {
  const proxy = await openProxy(port);
  const command = recipe.where === 'node' ? process.execPath : recipe.where;
  const program = startClientProgram(command, [recipe.file], {
    cwd: savePrograms(proxy.port),
    env: { TOKEN: token },
  });
  cleanUp.push(program.stop);
  return { ...recipe, ...program, proxy };
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
