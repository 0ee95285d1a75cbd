import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import type { Service } from '../src/service.js';
import { launchBrowser } from './support/browser.js';
import { startTestService } from './support/server.js';
import { tokenFor } from './support/tokens.js';

const BOOKS = 'https://example.com/books/{id}';
const BOOK = 'https://example.com/books/1';

let browser: Browser;
let service: Service;
let context: BrowserContext;
let contexts: BrowserContext[];
/** A token that may do everything. */
let token: string;
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
  token = await tokenFor();
});

afterAll(() => browser.close());

beforeEach(async () => {
  service = await startTestService();
  complaints = [];
  contexts = [];
  context = await newContext();
});

afterEach(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  await service.stop();
});

async function newContext(): Promise<BrowserContext> {
  const context = await browser.newContext();
  contexts.push(context);
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  return context;
}

async function openPage(from = context): Promise<Page> {
  const page = await from.newPage();
  await page.goto(service.url);
  return page;
}

const testId = (page: Page, id: string) => page.locator(`[data-testid="${id}"]`);

/** Waits until the stream's indicator shows the state. */
const state = (page: Page, stream: string, expected: string) =>
  page.locator(`[data-testid="state-${stream}"][data-state="${expected}"]`).waitFor();

interface SubscribeForm {
  types?: string;
  token?: string;
}

async function subscribe(
  page: Page,
  topics: string,
  { types = 'message', token = '' }: SubscribeForm = {},
): Promise<void> {
  await testId(page, 'hub-token').fill(token);
  await testId(page, 'hub-topics').fill(topics);
  await testId(page, 'hub-types').fill(types);
  await testId(page, 'hub-subscribe').click();
}

interface PublishForm {
  topic?: string;
  type?: string;
  isPrivate?: boolean;
}

/** Publishes with the page's form and returns what it shows as the result. */
async function publish(
  page: Page,
  data: string,
  { topic = BOOK, type = '', isPrivate = false }: PublishForm = {},
): Promise<string> {
  await testId(page, 'publish-topic').fill(topic);
  await testId(page, 'publish-type').fill(type);
  await testId(page, 'publish-data').fill(data);
  await testId(page, 'publish-private').setChecked(isPrivate);
  const answered = page.waitForResponse((response) => response.request().method() === 'POST');
  await testId(page, 'publish-send').click();
  await answered;
  await page.locator('[data-testid="publish-send"]:enabled').waitFor();
  return (await testId(page, 'publish-result').textContent()) ?? '';
}

/** Publishes without a page. */
async function send(
  data: string,
  topic = BOOK,
  to = service,
  more: Record<string, string> = {},
): Promise<string> {
  const response = await fetch(`${to.url}/hub`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}` },
    body: new URLSearchParams({ topic, data, ...more }),
  });
  expect(response.status).toBe(200);
  return response.text();
}

const updates = (page: Page) => testId(page, 'hub-events').locator('li');

/** Waits until the page shows the data as its newest update. */
const newest = (page: Page, data: string) =>
  testId(page, 'hub-events')
    .locator('li:first-child .update-data')
    .filter({ hasText: new RegExp(`^${data}$`) })
    .waitFor();

const shownData = (page: Page) => updates(page).locator('.update-data').allTextContents();
const shownIds = (page: Page) => updates(page).locator('.update-id').allTextContents();

describe('the hub on the page', () => {
  test('shows a typed update of a template selector, published from the page', async () => {
    const page = await openPage();
    await subscribe(page, `news, ${BOOKS}`, { types: 'message, chapter', token });
    await state(page, 'hub', 'open');
    const result = await publish(page, 'Call me <b>Ishmael</b>.\nSome', { type: 'chapter' });

    const item = testId(page, 'hub-events').locator('li[data-event="chapter"]');
    await item.waitFor();
    expect(await item.locator('.update-data').textContent()).toBe('Call me <b>Ishmael</b>.\nSome');
    expect(result).toBe(`Published as ${(await shownIds(page))[0]}.`);

    await send('elsewhere', 'https://example.com/films/1');
    await send('headline', 'news');
    await newest(page, 'headline');
    expect(await updates(page).count()).toBe(2);
    expect(complaints).toEqual([]);
  });

  test('takes the commas of a template for its own', async () => {
    const page = await openPage();
    await subscribe(page, 'news,/books{?page,size}\n weather ');
    await state(page, 'hub', 'open');
    for (const topic of ['/books?page=1&size=2', 'weather', 'news']) await send(topic, topic);
    await newest(page, 'news');
    expect(await shownData(page)).toEqual(['news', 'weather', '/books?page=1&size=2']);
  });

  test('tells who publishes a type that the page does not listen to', async () => {
    const page = await openPage();
    await subscribe(page, '*', { token });
    await state(page, 'hub', 'open');
    expect(await publish(page, 'unheard', { type: 'chapter' })).toMatch(
      /^Published as \S+\. Add chapter to the event types to see it here\.$/,
    );
  });

  test('shows a private update only where the token covers it', async () => {
    const [stranger, reader] = [await newContext(), await newContext()];
    const strangersPage = await openPage(stranger);
    const readersPage = await openPage(reader);
    await subscribe(strangersPage, BOOKS);
    await subscribe(readersPage, BOOKS, { token });
    for (const page of [strangersPage, readersPage]) await state(page, 'hub', 'open');

    await publish(readersPage, 'secret', { isPrivate: true });
    await publish(readersPage, 'public');
    for (const page of [strangersPage, readersPage]) await newest(page, 'public');
    expect(await shownData(strangersPage)).toEqual(['public']);
    expect(await shownData(readersPage)).toEqual(['public', 'secret']);

    // With a token it resumes, and is shown what comes from now on.
    await testId(strangersPage, 'hub-token').fill(token);
    await testId(strangersPage, 'hub-token').press('Tab');
    await state(strangersPage, 'hub', 'open');
    await publish(readersPage, 'secret too', { isPrivate: true });
    await newest(strangersPage, 'secret too');
    expect(complaints).toEqual([]);
  });

  test('carries the token in a cookie for as long as there is one, and never in a URL', async () => {
    const urls: string[] = [];
    context.on('request', (request) => urls.push(request.url()));
    const page = await openPage();
    await subscribe(page, BOOKS, { token });
    await state(page, 'hub', 'open');
    expect(await context.cookies()).toMatchObject([
      { name: 'mercureAuthorization', value: token, sameSite: 'Strict', path: '/' },
    ]);
    expect(urls.join()).not.toContain(token);

    await page.reload();
    expect(await testId(page, 'hub-token').inputValue()).toBe(token);
    expect(await page.evaluate(() => JSON.stringify(localStorage))).not.toContain(token);

    await testId(page, 'hub-token').fill('');
    await testId(page, 'hub-token').press('Tab');
    expect(await context.cookies()).toEqual([]);
    expect(await page.evaluate(() => JSON.stringify(sessionStorage))).not.toContain(token);
  });

  test("shows the server's reason for what it does not publish", async () => {
    const page = await openPage();
    expect(await publish(page, 'x')).toBe(
      'Unauthorized: Publishing needs a token: send it as Authorization: Bearer TOKEN.',
    );
    await testId(page, 'hub-token').fill('not a token; Domain=example.com');
    expect(await publish(page, 'x')).toMatch(/^Unauthorized: ./);
    await testId(page, 'hub-token').fill(await tokenFor({ publish: ['news'] }));
    expect(await publish(page, 'x')).toBe(`Forbidden: The token does not cover "${BOOK}".`);
    expect(await publish(page, 'x', { topic: ' ' })).toBe('Bad Request: topic is empty.');
    expect(await publish(page, 'x', { topic: 'news' })).toMatch(/^Published as \S+\.$/);
  });

  test('publishes with the token in the field alone, not with the cookie of a stream', async () => {
    const page = await openPage();
    await context.addCookies([
      { name: 'mercureAuthorization', value: token, url: service.url, sameSite: 'Strict' },
    ]);
    expect(await publish(page, 'x')).toMatch(/^Unauthorized: Publishing needs a token/);
  });

  test('ends a subscription that the server refuses, and says why', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS, { token: 'nonsense' });
    await testId(page, 'hub-problem')
      .filter({ hasText: /^Unauthorized: ./ })
      .waitFor();
    await state(page, 'hub', 'closed');
    expect(await testId(page, 'hub-stop').isDisabled()).toBe(true);

    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    expect(await testId(page, 'hub-problem').isVisible()).toBe(false);

    await subscribe(page, ' ');
    expect(await testId(page, 'hub-problem').textContent()).toMatch(/Name a topic/);
    await subscribe(page, BOOKS, { types: 'error' });
    expect(await testId(page, 'hub-problem').textContent()).toMatch(/type error/);
  });

  test('says that all topics have ended, and asks no more', async () => {
    const page = await openPage();
    await subscribe(page, 'a, b');
    await state(page, 'hub', 'open');
    await send('1', 'a', service, { last: '' });
    await newest(page, '1');
    await send('2', 'b', service, { last: '', retry: '10' });
    await testId(page, 'hub-problem').filter({ hasText: 'topics have ended' }).waitFor();
    await state(page, 'hub', 'closed');
    expect(await shownData(page)).toEqual(['2', '1']);
    expect(await testId(page, 'hub-stop').isDisabled()).toBe(true);
  });

  test("of an ended topic stops a page's own EventSource for good, when it has come back once", async () => {
    const page = await openPage();
    const answers: number[] = [];
    page.on('response', (response) => {
      if (response.url().includes('topic=own')) answers.push(response.status());
    });
    await page.evaluate(
      () =>
        new Promise<void>((resolve) => {
          const source = new EventSource('/hub?topic=own');
          const seen: string[] = [];
          Object.assign(window, { source, seen });
          source.onopen = () => resolve();
          source.onmessage = ({ data }) => seen.push(data);
          source.addEventListener('end', () => seen.push('the end'));
        }),
    );
    await send('1', 'own', service, { retry: '10' });
    await send('', 'own', service, { type: 'end', last: '' });
    await page.waitForFunction(() => {
      const { source } = window as unknown as { source: EventSource };
      return source.readyState === EventSource.CLOSED;
    });
    expect(await page.evaluate(() => (window as unknown as { seen: string[] }).seen)).toEqual([
      '1',
      'the end',
    ]);
    expect(answers).toEqual([200, 204]);
  });

  test('stops, and leaves its connection to others', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    await testId(page, 'hub-stop').click();
    await state(page, 'hub', 'closed');
    expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Subscribe');
    await page.waitForFunction(async () => {
      const { held = [] } = await navigator.locks.query();
      return held.filter(({ name }) => name?.startsWith('slot-')).length === 3;
    });
  });

  test('in two windows still lets them talk, at the cost of what matters less', async () => {
    const [ada, bob] = [await openPage(), await openPage()];
    for (const page of [ada, bob]) {
      await state(page, 'chat', 'open');
      await subscribe(page, BOOKS);
    }
    for (const page of [ada, bob]) await state(page, 'hub', 'open');
    await send('for both');
    for (const page of [ada, bob]) await newest(page, 'for both');

    await testId(ada, 'chat-input').fill('Hello, Bob!');
    await testId(ada, 'chat-send').click();
    await bob.locator('[data-testid="chat-list"] >> text="Hello, Bob!"').waitFor();

    const states = async (stream: string) =>
      Promise.all(
        [ada, bob].map((page) => testId(page, `state-${stream}`).getAttribute('data-state')),
      );
    expect((await states('clock')).sort()).toEqual(['open', 'waiting']);
    expect(await states('counter')).toEqual(['waiting', 'waiting']);

    await testId(ada, 'hub-stop').click();
    for (const page of [ada, bob]) await state(page, 'clock', 'open');
    expect(complaints).toEqual([]);
  });

  test('keeps the newest hundred updates', async () => {
    const page = await openPage();
    await subscribe(page, '*');
    await state(page, 'hub', 'open');
    for (let n = 1; n <= 105; n += 1) await send(`${n}`);
    await newest(page, '105');
    expect(await shownData(page)).toEqual(Array.from({ length: 100 }, (_, n) => `${105 - n}`));
  });

  test.each([320, 360, 1280])('fits a window %d pixels wide, with long updates', async (width) => {
    const page = await openPage();
    await page.setViewportSize({ width, height: 800 });
    await subscribe(page, '*', { types: 'y'.repeat(200), token });
    await state(page, 'hub', 'open');
    await publish(page, 'x'.repeat(5_000), { type: 'y'.repeat(200) });
    await updates(page).waitFor();
    const [content, window] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.documentElement.clientWidth,
    ]);
    expect(content).toBeLessThanOrEqual(window as number);
  });

  test('is usable by keyboard alone', async () => {
    const page = await openPage();
    await testId(page, 'hub-token').focus();
    const reached: (string | null | undefined)[] = [];
    for (let presses = 0; presses < 9; presses += 1) {
      await page.keyboard.press('Tab');
      reached.push(
        await page.evaluate(() => (document.activeElement as HTMLElement).dataset.testid),
      );
    }
    expect(reached.filter((id) => id !== undefined)).toEqual([
      'hub-topics',
      'hub-types',
      'hub-subscribe',
      'publish-topic',
      'publish-type',
      'publish-data',
      'publish-private',
    ]);
    await page.locator('#hub-token').press('Tab');
    await page.keyboard.press('Enter');
    expect(await testId(page, 'hub-token').getAttribute('type')).toBe('text');
    await testId(page, 'hub-types').press('Enter');
    await state(page, 'hub', 'open');
  });
});

describe('when the server was stopped and is started again', () => {
  let directory: string;
  let journal: Record<string, string>;

  beforeEach(async () => {
    await service.stop();
    directory = await mkdtemp(join(tmpdir(), 'browser-hub-'));
    journal = { JOURNAL: `lmdb:${directory}` };
    service = await startTestService(journal);
  });

  afterEach(() => rm(directory, { recursive: true }));

  /** Stops the service, has something done by another one over the same journal, and starts it again. */
  async function restart(meanwhile: (other: Service) => Promise<unknown>, env = journal) {
    const { port } = new URL(service.url);
    await service.stop();
    const other = await startTestService(env);
    await meanwhile(other);
    await other.stop();
    service = await startTestService({ ...env, PORT: port });
  }

  test('the page catches up with what was published, without a repeat', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    const ids = [await send('one'), await send('two')];
    await newest(page, 'two');

    await restart(async (other) => {
      ids.push(await send('three', BOOK, other), await send('four', BOOK, other));
    });
    await newest(page, 'four');
    await state(page, 'hub', 'open');
    ids.push(await send('five'));
    await newest(page, 'five');

    expect(await shownData(page)).toEqual(['five', 'four', 'three', 'two', 'one']);
    expect(await shownIds(page)).toEqual(ids.reverse());
    expect(await updates(page).count()).toBe(5);
    const reconnects = await testId(page, 'state-hub').getAttribute('data-reconnects');
    expect(Number(reconnects)).toBeGreaterThan(0);
  });

  test('the page goes on receiving what is private', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS, { token });
    await state(page, 'hub', 'open');
    await publish(page, 'one', { isPrivate: true });
    await newest(page, 'one');
    await restart(() => Promise.resolve());
    await page.locator('[data-testid="state-hub"]:not([data-reconnects="0"])').waitFor();
    await publish(page, 'two', { isPrivate: true });
    await newest(page, 'two');
    expect(await shownData(page)).toEqual(['two', 'one']);
  });

  test('the page is told of updates that are no longer held', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    const id = await send('one');
    await newest(page, 'one');
    await service.stop();
    await rm(directory, { recursive: true });
    service = await startTestService({ ...journal, PORT: new URL(service.url).port });

    const gap = testId(page, 'hub-events').locator('li[data-event="gap"]');
    await gap.waitFor();
    expect(await gap.textContent()).toMatch(/Updates were missed: the server does not know/);
    expect(await gap.textContent()).toContain(id);
  });

  test('the page says that updates are withheld from those without a token', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    const id = await send('one');
    await newest(page, 'one');
    await restart(() => Promise.resolve(), { ...journal, ANONYMOUS: 'no-replay' });

    const gap = testId(page, 'hub-events').locator('li[data-event="gap"] .update-data');
    expect(await gap.textContent()).toBe(
      `Updates were missed: the server tells what came after ${id} only to clients with a token. New updates follow.`,
    );
    await send('two');
    await newest(page, 'two');
  });

  test('the page says that updates are damaged, and shows those that are not', async () => {
    const page = await openPage();
    await subscribe(page, BOOKS);
    await state(page, 'hub', 'open');
    const id = await send('one');
    await newest(page, 'one');
    await restart(async (other) => {
      await send('to be damaged', BOOK, other);
      await send('three', BOOK, other);
      await other.stop();
      await damage('to be damaged');
    });

    await newest(page, 'three');
    const gap = testId(page, 'hub-events').locator('li[data-event="gap"] .update-data');
    expect(await gap.textContent()).toMatch(
      `Updates were missed: the server cannot read some of what came after ${id}. The oldest that it holds is ${id}.`,
    );
    expect(await updates(page).locator('.update-data').allTextContents()).not.toContain(
      'to be damaged',
    );
  });

  /** Changes a text in the journal's file, wherever it stands. */
  async function damage(text: string) {
    const file = join(directory, 'data.mdb');
    const bytes = await readFile(file);
    let found = 0;
    for (let at = bytes.indexOf(text); at >= 0; at = bytes.indexOf(text, at + 1)) {
      bytes[at] = 0x21;
      found += 1;
    }
    expect(found).toBeGreaterThan(0);
    await writeFile(file, bytes);
  }

  test("a page's own EventSource resumes by Last-Event-ID", async () => {
    const page = await openPage();
    await page.evaluate(
      (topic) =>
        new Promise<void>((resolve) => {
          const source = new EventSource(`/hub?topic=${encodeURIComponent(topic)}`);
          const seen: string[] = [];
          Object.assign(window, { seen });
          source.onmessage = ({ lastEventId, data }) => seen.push(`${lastEventId} ${data}`);
          source.onopen = () => resolve();
        }),
      BOOKS,
    );
    const seen = async (count: number) => {
      const handle = await page.waitForFunction((count) => {
        const { seen } = window as unknown as { seen: string[] };
        return seen.length >= count && seen;
      }, count);
      return (await handle.jsonValue()) as string[];
    };
    const expected: string[] = [];
    const sendAndExpect = async (data: string, to = service) => {
      expected.push(`${await send(data, BOOK, to)} ${data}`);
    };
    await sendAndExpect('one');
    await seen(1);
    await restart(async (other) => {
      await sendAndExpect('two', other);
      await sendAndExpect('three', other);
    });
    await seen(3);
    await sendAndExpect('four');
    expect(await seen(4)).toEqual(expected);
  });
});
