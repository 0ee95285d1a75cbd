import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';

const TOPIC = '/users/ada/notifications';

let browser: Browser;
let program: Program;
let contexts: BrowserContext[];
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
});

beforeEach(async () => {
  contexts = [];
  complaints = [];
  program = await start();
});

afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  await killPrograms();
});

afterAll(() => browser.close());

const start = (env: Record<string, string> = {}) =>
  runProgram('scripts/example.js', { args: ['notifications'], env });

/** The page in a browser of its own, logged in. */
async function pageOf(user: string): Promise<Page> {
  const context = await browser.newContext();
  contexts.push(context);
  context.on('console', (message) => {
    // That nobody is logged in yet is told by a 401, which Chromium mentions.
    if (message.type() === 'error' && !message.text().includes('401')) {
      complaints.push(message.text());
    }
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  const page = await openPage(context);
  await page.locator('[name=user]').fill(user);
  await page.locator('#login button').click();
  await page.locator('#user').filter({ hasText: user }).waitFor();
  return page;
}

async function openPage(context: BrowserContext): Promise<Page> {
  const page = await context.newPage();
  await page.goto(program.url);
  return page;
}

async function send(page: Page, to: string, text: string): Promise<void> {
  await page.locator('[name=to]').fill(to);
  await page.locator('[name=text]').fill(text);
  const answered = page.waitForResponse((response) => response.url().endsWith('/notifications'));
  await page.locator('#send button').click();
  expect((await answered).status()).toBe(204);
}

/** Waits until the bell of a page shows this number, with so many notifications in the list. */
async function rings(page: Page, unread: number, all: number): Promise<void> {
  await page
    .locator('#unread')
    .filter({ hasText: new RegExp(`^${unread}$`) })
    .waitFor();
  await page
    .locator(`#list:has(li:nth-child(${all})):not(:has(li:nth-child(${all + 1})))`)
    .waitFor();
}

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${program.url}/${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

/** Logs in without a page, and returns the cookie as it is sent. */
async function cookieOf(user: string): Promise<string> {
  const [cookie = ''] = (await post('login', { user })).headers.getSetCookie();
  return cookie.split(';')[0] ?? '';
}

const updates = (cookie: string, lastEventID = 'earliest') =>
  connect(`${program.url}/updates?topic=${TOPIC}&lastEventID=${lastEventID}`, { Cookie: cookie });

describe('the example notifications', () => {
  test('rings the bell of its user, as text, and of nobody else', async () => {
    const [ada, bob] = [await pageOf('ada'), await pageOf('bob')];
    await send(bob, 'ada', '<b>hello</b>');
    await rings(ada, 1, 1);
    expect(await ada.locator('#list li').allTextContents()).toEqual(['bob: <b>hello</b>']);
    await send(ada, 'bob', 'hello yourself');
    await rings(bob, 1, 1);
    expect(await bob.locator('#list li').allTextContents()).toEqual(['ada: hello yourself']);
    expect(complaints).toEqual([]);
  });

  test('counts the same in all tabs of a user, after a reload, and when they are read', async () => {
    const [ada, bob] = [await pageOf('ada'), await pageOf('bob')];
    for (const text of ['one', 'two']) await send(bob, 'ada', text);
    await rings(ada, 2, 2);
    const [context] = contexts as [BrowserContext];
    const second = await openPage(context);
    await rings(second, 2, 2);
    await ada.reload();
    await rings(ada, 2, 2);

    await second.locator('#bell').click();
    await rings(ada, 0, 2);
    await rings(second, 0, 2);
    await send(bob, 'ada', 'three');
    await rings(ada, 1, 3);
    await ada.reload();
    await rings(ada, 1, 3);
    expect(complaints).toEqual([]);
  });

  test('asks for a login again when it is over', async () => {
    const ada = await pageOf('ada');
    await ada.locator('#logout').click();
    await ada.locator('#login').waitFor();
    await ada.reload();
    await ada.locator('#login').waitFor();
    expect(await ada.locator('main').isVisible()).toBe(false);
  });

  test('keeps the token in a cookie that no script reads and no other site sends', async () => {
    const answer = await post('login', { user: 'ada' });
    const [cookie = ''] = answer.headers.getSetCookie();
    expect(cookie).toMatch(/^mercureAuthorization=[\w.-]+;.*samesite=strict; httponly$/);
    const token = cookie.slice(0, cookie.indexOf(';')).split('=')[1] ?? '';
    expect(await answer.text()).not.toContain(token);
    const client = await updates(`mercureAuthorization=${token}`);
    await post('notifications', { to: 'ada', text: 'x' }, { Cookie: await cookieOf('bob') });
    await client.next();
    client.abort();
    expect(program.stdout() + program.stderr()).not.toContain(token);
  });

  test('sends another user nothing, live or replayed', async () => {
    const [ada, bob] = [await cookieOf('ada'), await cookieOf('bob')];
    const spy = await connect(
      `${program.url}/updates?topic=*&topic=${TOPIC}&lastEventID=earliest`,
      { Cookie: bob },
    );
    await post('notifications', { to: 'ada', text: 'secret' }, { Cookie: ada });
    await post('notifications', { to: 'bob', text: 'not secret' }, { Cookie: ada });
    expect(await spy.next()).toMatchObject({ data: '{"from":"ada","text":"not secret"}' });
    const replayed = await connect(`${program.url}/updates?topic=*&lastEventID=earliest`, {
      Cookie: bob,
    });
    expect(await replayed.next()).toMatchObject({ data: '{"from":"ada","text":"not secret"}' });
    for (const client of [spy, replayed]) client.abort();
  });

  test('refuses those who are not logged in, and publishing with the cookie', async () => {
    const body = { to: 'ada', text: 'x' };
    for (const cookie of ['', 'mercureAuthorization=forged']) {
      const headers = { Cookie: cookie };
      expect((await fetch(`${program.url}/me`, { headers })).status).toBe(401);
      expect((await post('notifications', body, headers)).status).toBe(401);
      expect((await post('read', { through: 'x' }, headers)).status).toBe(401);
      expect((await updates(cookie)).response.statusCode).toBe(401);
    }
    const { status } = await fetch(`${program.url}/updates`, {
      method: 'POST',
      headers: { Cookie: await cookieOf('ada'), Origin: program.url },
      body: new URLSearchParams({ topic: TOPIC, data: 'forged' }),
    });
    expect(status).toBe(403);
  });

  test('refuses bodies that are too long or not what they should be, and says why', async () => {
    const Cookie = await cookieOf('ada');
    const refusal = async (path: string, body: unknown, headers = {}) => {
      const answer = await post(path, body, { Cookie, ...headers });
      return `${answer.status} ${await answer.text()}`;
    };
    const form = { 'Content-Type': 'application/x-www-form-urlencoded' };
    expect(await refusal('login', 'user=ada', form)).toBe('415 Send JSON, as application/json.');
    expect(await refusal('login', ' '.repeat(4097))).toBe('413 A body has at most 4096 bytes.');
    const unknown = { Cookie, 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' };
    const client = request(`${program.url}/login`, { method: 'POST', headers: unknown });
    const [unread] = (await once(client.end('{}'), 'response')) as [IncomingMessage];
    expect(unread.resume().statusCode).toBe(411);
    expect(await refusal('login', '{')).toBe('400 The body is no JSON.');
    for (const user of [undefined, null, '', 'Ada', 'a/b', 'a'.repeat(33), ['ada']]) {
      expect(await refusal('login', { user })).toMatch(/^400 A user name has 1 to 32 /);
    }
    expect(await refusal('notifications', { to: '*', text: 'x' })).toMatch(/^400 A user name/);
    for (const text of [undefined, '', 'x'.repeat(501), 7]) {
      expect(await refusal('notifications', { to: 'bob', text })).toMatch(
        /^400 text has 1 to 500 /,
      );
    }
    for (const through of [undefined, '', 'x'.repeat(65)]) {
      expect(await refusal('read', { through })).toMatch(/^400 through is the id /);
    }
    expect(program.stderr()).toBe('');
  });

  test('keeps logins and notifications over a restart, with a key and a journal of its own', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'koa-sse-hub-notifications-'));
    const env = { JWT_KEY, JOURNAL: `lmdb:${folder}` };
    program = await start(env);
    const Cookie = await cookieOf('ada');
    await post('notifications', { to: 'ada', text: 'from before' }, { Cookie });
    await program.kill();
    program = await start(env);
    const client = await updates(Cookie);
    expect(await client.next()).toMatchObject({
      event: 'notification',
      data: '{"from":"ada","text":"from before"}',
    });
    client.abort();
    await killPrograms();
    await rm(folder, { recursive: true });
  });
});
