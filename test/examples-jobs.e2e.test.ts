import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { connect, type SseClient } from './support/sse-client.js';

/** More than any test waits for. */
const ENDLESS = 1_000;

let browser: Browser;
let program: Program;
let context: BrowserContext;
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
});

beforeEach(async () => {
  complaints = [];
  context = await browser.newContext();
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
});

afterEach(async () => {
  await context.close();
  await killPrograms();
});

afterAll(() => browser.close());

async function start(env: Record<string, string> = {}): Promise<void> {
  program = await runProgram('scripts/example.js', { args: ['jobs'], env });
}

const post = (body: unknown, headers: Record<string, string> = {}) =>
  fetch(`${program.url}/jobs`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

/** Starts a job without a page, and returns its address. */
async function begin(steps: number): Promise<string> {
  const answer = await post({ steps });
  expect(answer.status).toBe(202);
  return `${program.url}/jobs/${((await answer.json()) as { id: string }).id}`;
}

/** Starts a job on a page of its own, which has made progress when this resolves. */
async function beginOnPage(steps: number): Promise<Page> {
  const page = await context.newPage();
  await page.goto(program.url);
  await page.locator('[name=steps]').fill(String(steps));
  await page.locator('#start button').click();
  await shows(page, new RegExp(`^[1-9]\\d* of ${steps} steps$`));
  return page;
}

const shows = (page: Page, words: string | RegExp) =>
  page.locator('#state').filter({ hasText: words }).waitFor();

/** All that comes until the server ends the stream. */
async function allOf(client: SseClient): Promise<{ event: string; data: string; id: string }[]> {
  await client.ended;
  const events: { event: string; data: string; id: string }[] = [];
  for (;;) {
    const next = await client.next().catch(() => undefined);
    if (next === undefined) return events;
    events.push({ event: next.event ?? '', data: next.data, id: next.id ?? '' });
  }
}

describe('the example jobs', () => {
  test('shows the progress on a page, over a reload, and is over for good at the end', async () => {
    await start();
    const page = await beginOnPage(60);
    await page.reload();
    // Nothing is cancelled: the page is back in time.
    const stopped = page.waitForResponse((response) => response.status() === 204);
    await shows(page, 'Done.');
    expect(await page.locator('#result').textContent()).toBe(resultOf(60));
    expect(await page.locator('#progress').getAttribute('value')).toBe('1');
    await stopped;
    expect(await page.locator('#state').textContent()).toBe('Done.');
    expect(complaints).toEqual([]);
  });

  test('tells each step once, also those who come late, and answers 204 to those who come back', async () => {
    await start();
    const url = await begin(5);
    const events = await allOf(await connect(url));
    const progress = [0, 1, 2, 3, 4, 5].map((done) => JSON.stringify({ done, steps: 5 }));
    expect(events.map(({ event, data }) => [event, data])).toEqual([
      ...progress.map((data) => ['progress', data]),
      ['result', resultOf(5)],
      ['end', ''],
    ]);
    expect(await allOf(await connect(url))).toEqual(events);
    const id = events.at(-1)?.id ?? '';
    expect((await fetch(url, { headers: { 'Last-Event-ID': id } })).status).toBe(204);
  });

  test('goes on as long as one of its watchers is there, and is cancelled when the last leaves', async () => {
    await start({ GRACE_MS: '1500' });
    const url = await begin(ENDLESS);
    const [first, second] = [await connect(url), await connect(url)];
    await Promise.all([first.next(), second.next()]);
    first.abort();
    // So many steps take longer than the grace.
    for (let done = 0; done < 90; ) done = JSON.parse((await second.next()).data).done;
    expect(program.stdout()).not.toContain('cancelled');

    second.abort();
    await program.printed(/^A job has been cancelled\.$/m);
    const events = await allOf(await connect(url));
    expect(events.at(-1)).toMatchObject({ event: 'cancelled' });
    const id = events.at(-1)?.id ?? '';
    expect((await fetch(url, { headers: { 'Last-Event-ID': id } })).status).toBe(204);
  });

  test('is cancelled when its page is closed, or if nobody ever watches it', async () => {
    await start({ GRACE_MS: '3000' });
    const page = await beginOnPage(ENDLESS);
    const url = page.url();
    await begin(ENDLESS);
    await page.close();
    await program.printed(/cancelled\.\n.*cancelled\.\n/);
    const late = await context.newPage();
    await late.goto(url);
    await shows(late, 'The job was cancelled: nobody watched it.');
  });

  test('refuses what it cannot take, and says why', async () => {
    await start();
    const refusal = async (body: unknown, headers = {}) => {
      const answer = await post(body, headers);
      return `${answer.status} ${await answer.text()}`;
    };
    const form = { 'Content-Type': 'text/plain' };
    expect(await refusal('{"steps":1}', form)).toBe('415 Send JSON, as application/json.');
    expect(await refusal('{')).toBe('400 The body is no JSON.');
    expect(await refusal(' '.repeat(1_025))).toBe('413 A body has at most 1024 bytes.');
    for (const steps of [undefined, null, 0, 1.5, '7', 1_001]) {
      expect(await refusal({ steps })).toBe('400 steps is a whole number from 1 to 1000.');
    }
    for (const id of ['{x}', '*', 'x'.repeat(2_000), '0'.repeat(36)]) {
      expect((await fetch(`${program.url}/jobs/${encodeURIComponent(id)}`)).status).toBe(404);
    }
    for (let jobs = 0; jobs < 10; jobs += 1) await begin(ENDLESS);
    expect(await refusal({ steps: 1 })).toBe('503 Too many jobs are under way. Try again later.');
    const page = await context.newPage();
    await page.goto(`${program.url}/#${'0'.repeat(36)}`);
    await shows(page, 'There is no such job.');
  });
});

/** What a job of so many steps comes to. */
function resultOf(steps: number): string {
  let result = '';
  for (let done = 0; done < steps; done += 1) {
    result = createHash('sha256').update(result).digest('hex');
  }
  return result;
}
