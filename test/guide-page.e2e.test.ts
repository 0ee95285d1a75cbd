import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { edited, type GuideProject, guideProject } from './support/guide.js';
import { killPrograms, type Program } from './support/run-program.js';

const TYPE = 'text/event-stream';

describe("the guide's page", () => {
  let project: GuideProject;
  let start: GuideProject['start'];
  let browser: Browser;
  let page: Page;
  let program: Program;
  let front: Front;

  beforeAll(async () => {
    project = guideProject();
    start = project.start;
    // Tries again sooner than the page of the guide, so that no test waits for it.
    for (const name of ['10-page.html', '11-page.html']) {
      const text = edited(name, [['2000 + 3000 * Math.random()', '100']]);
      writeFileSync(join(project.folder, name), text);
    }
    browser = await launchBrowser();
  });

  beforeEach(async () => {
    program = await start('11-login.mjs', {
      // The browser, too, is to come back soon.
      edits: [["event: 'start', data: '' }", "event: 'start', data: '', retry: 50 }"]],
    });
    front = await Front.before(program.port);
    page = await browser.newPage();
    await page.goto(`${front.url}/page`);
  });

  afterEach(async () => {
    await page.close();
    await front.close();
    await killPrograms();
  });

  afterAll(async () => {
    await browser.close();
    project.remove();
  });

  const state = (text: string) => page.locator('#state').filter({ hasText: text }).waitFor();
  const board = () => page.locator('#board li').allTextContents();
  const shows = (text: string) => page.locator('#board li', { hasText: text }).waitFor();
  const logIn = () => page.evaluate(() => fetch('/login?user=ann', { method: 'POST' }));
  const publish = async (query: string) => {
    const [cookie] = await page.context().cookies(front.url);
    const signature = (await page.context().cookies(front.url)).at(-1);
    const Cookie = `user=${cookie?.value}; user.sig=${signature?.value}`;
    await fetch(`${program.url}/?${query}`, { method: 'POST', headers: { Cookie } });
  };

  test('before there is a login, the page opens its stream at once', async () => {
    front.targetPort = (await start('10-page.mjs')).port;
    await page.goto(`${front.url}/page`);
    await state('open');
    await fetch(`${front.url}/?event=news&data=hello`, { method: 'POST' });
    await shows('news: hello');
  });

  test('without a login the page says so, and does not try again', async () => {
    await page.locator('#state', { hasText: 'closed: log in first' }).waitFor();
    expect(front.streams).toBe(1);
  });

  test('shows events with a name and without one, as text', async () => {
    await openLoggedIn();
    await publish('event=news&data=hello');
    await publish('data=<b>hi</b>');
    await shows('message');
    expect(await board()).toEqual(['news: hello', 'message: <b>hi</b>']);
  });

  test('after a broken connection the browser comes back by itself, with its last id', async () => {
    await openLoggedIn();
    await publish('event=news&data=first');
    await shows('first');
    front.isAway = 'refusing';
    front.breakStreams();
    await publish('event=news&data=missed');
    front.isAway = undefined;
    await shows('missed');
    expect(await board()).toEqual(['news: first', 'news: missed']);
    expect(front.cursors.at(-1)).toMatch(/^\d+-1$/);
  });

  test('after a 502 the browser gives up; the page opens a new stream and misses nothing', async () => {
    await openLoggedIn();
    front.isAway = 'answering 502';
    front.breakStreams();
    await state('closed');
    await publish('event=news&data=missed');
    front.isAway = undefined;
    await shows('missed');
    expect(await board()).toEqual(['news: missed']);
  });

  test('what a restart has lost is told as a gap', async () => {
    await openLoggedIn();
    await publish('event=news&data=first');
    await shows('first');
    front.targetPort = (await start('10-page.mjs')).port;
    front.breakStreams();
    await shows('gap');
  });

  test.each([
    ['has ended', 0, 200, TYPE, '*'],
    ['broke before its head', 0, undefined, TYPE, '*'],
    ['was answered 204', 2, 204, TYPE, '*'],
    ['was answered 401', 2, 401, TYPE, '*'],
    ['was answered 403', 2, 403, TYPE, '*'],
    ['was answered 502', 2, 502, TYPE, '*'],
    ['is no event stream', 2, 200, 'text/plain', '*'],
    ['may not be read by this page', 2, 200, TYPE, 'https://app.example'],
  ])(
    'an EventSource whose connection %s has readyState %i',
    async (_, state, status, type, cors) => {
      const server = createServer((_asked, answer) => {
        if (status === undefined) answer.destroy();
        else
          answer
            .writeHead(status, { 'Content-Type': type, 'Access-Control-Allow-Origin': cors })
            .end();
      }).listen(0);
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const readyState = await page.evaluate(
        (from) =>
          new Promise((resolve) => {
            const source = new EventSource(from);
            source.onerror = () => {
              resolve(source.readyState);
              source.close();
            };
          }),
        url,
      );
      expect(readyState).toBe(state);
      server.close();
      server.closeAllConnections();
    },
  );

  async function openLoggedIn(): Promise<void> {
    await logIn();
    await page.reload();
    await state('open');
  }
});

/** Stands between a browser and a program, and is away at times. */
class Front {
  targetPort: number;
  isAway: 'refusing' | 'answering 502' | undefined;
  /** How many streams were asked for, and the ids that they came with. */
  streams = 0;
  readonly cursors: string[] = [];
  readonly #server: Server;

  static async before(port: number): Promise<Front> {
    const front = new Front(port);
    front.#server.listen(0, '127.0.0.1');
    await once(front.#server, 'listening');
    return front;
  }

  private constructor(port: number) {
    this.targetPort = port;
    this.#server = createServer((asked, answer) => {
      const isStream = asked.headers.accept === 'text/event-stream';
      if (isStream) {
        this.streams += 1;
        this.cursors.push(String(asked.headers['last-event-id'] ?? ''));
      }
      if (this.isAway === 'refusing') {
        answer.destroy();
        return;
      }
      if (this.isAway === 'answering 502') {
        answer.writeHead(502).end();
        return;
      }
      const { method, url, headers } = asked;
      const passed = request(
        { port: this.targetPort, host: '127.0.0.1', method, path: url, headers },
        (response) => {
          answer.writeHead(response.statusCode ?? 500, response.headers);
          answer.flushHeaders();
          response.pipe(answer);
          response.on('error', () => answer.destroy());
        },
      );
      passed.on('error', () => answer.destroy());
      answer.on('close', () => passed.destroy());
      asked.pipe(passed);
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  breakStreams(): void {
    this.#server.closeAllConnections();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.breakStreams();
    await once(this.#server, 'close');
  }
}
