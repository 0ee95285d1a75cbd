import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import type { Service } from '../src/service.js';
import { launchBrowser } from './support/browser.js';
import { startTestService } from './support/server.js';

let browser: Browser;
let service: Service;
let context: BrowserContext;
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
});

afterAll(() => browser.close());

beforeEach(async () => {
  service = await startTestService();
  context = await browser.newContext();
  complaints = [];
  context.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
});

afterEach(async () => {
  await context.close();
  await service.stop();
});

async function openPage(path = '/'): Promise<Page> {
  const page = await context.newPage();
  await page.goto(service.url + path);
  return page;
}

const testId = (page: Page, id: string) => page.locator(`[data-testid="${id}"]`);

/** Waits until the stream's indicator shows the state. */
const state = (page: Page, stream: string, expected: string) =>
  page.locator(`[data-testid="state-${stream}"][data-state="${expected}"]`).waitFor();

/** Waits until the element's text is another one, and returns that. */
async function nextText(page: Page, id: string): Promise<string> {
  const before = await testId(page, id).textContent();
  const changed = await page.waitForFunction(
    ([id, before]) => {
      const text = document.querySelector(`[data-testid="${id}"]`)?.textContent;
      return text !== before && text;
    },
    [id, before] as const,
  );
  return String(await changed.jsonValue());
}

describe('the page', () => {
  test('ticks with the server, through its currentTime listener', async () => {
    const page = await openPage();
    await state(page, 'clock', 'open');
    await nextText(page, 'clock');
    const first = await nextText(page, 'clock');
    const second = await nextText(page, 'clock');
    expect(new Date(first).toUTCString()).toBe(first);
    expect(Date.parse(second) - Date.parse(first)).toBe(1000);
    await page.locator('[data-testid="log"] [data-event="currentTime"]').first().waitFor();
    expect(complaints).toEqual([]);
  });

  test('counts, and logs events with their id, name and data', async () => {
    const page = await openPage();
    await state(page, 'counter', 'open');
    const first = Number(await nextText(page, 'counter'));
    expect(Number(await nextText(page, 'counter'))).toBe(first + 1);
    const row = page.locator('[data-testid="log"] [data-event="currentTime"]').first();
    expect(await row.textContent()).toMatch(/currentTime.*\d+-\d+.*GMT/s);
    expect(complaints).toEqual([]);
  });

  test('lets two windows of one browser talk', async () => {
    const [ada, bob] = [await openPage(), await openPage()];
    await testId(ada, 'chat-user').fill('ada');
    await testId(ada, 'chat-user').press('Tab');
    await testId(bob, 'chat-user').fill('bob');
    await testId(bob, 'chat-user').press('Tab');
    for (const page of [ada, bob]) await state(page, 'chat', 'open');

    await testId(ada, 'chat-input').fill('  Hello, Bob <b>!</b> ');
    await testId(ada, 'chat-send').click();
    await bob.locator('[data-testid="chat-list"] >> text="Hello, Bob <b>!</b>"').waitFor();
    await ada.locator('[data-testid="chat-list"] >> text="Hello, Bob <b>!</b>"').waitFor();

    await testId(bob, 'chat-input').fill('Hello, Ada!');
    await testId(bob, 'chat-input').press('Enter');
    await ada.locator('[data-testid="chat-list"] >> text="Hello, Ada!"').waitFor();
    expect(await testId(ada, 'chat-list').locator('li').count()).toBe(2);
    expect(await testId(bob, 'chat-list').locator('li').count()).toBe(2);
    expect(complaints).toEqual([]);
  });

  test('shows what the server finds wrong with a message', async () => {
    const page = await openPage();
    await state(page, 'chat', 'open');
    await page.route('**/message?**', (route) =>
      route.fulfill({
        status: 400,
        contentType: 'application/problem+json',
        body: JSON.stringify({ title: 'Bad Request', status: 400, detail: 'message is blank' }),
      }),
    );
    await testId(page, 'chat-input').fill('x');
    await testId(page, 'chat-send').click();
    await testId(page, 'chat-error').filter({ hasText: 'message is blank' }).waitFor();
  });

  test('recovers by itself when the server was stopped and is started again', async () => {
    const page = await openPage();
    await state(page, 'clock', 'open');
    await nextText(page, 'clock');
    const { port } = new URL(service.url);
    await service.stop();
    await page.locator('[data-testid="state-clock"]:not([data-state="open"])').waitFor();
    service = await startTestService({ PORT: port });
    await state(page, 'clock', 'open');
    await nextText(page, 'clock');
    const reconnects = await testId(page, 'state-clock').getAttribute('data-reconnects');
    expect(Number(reconnects)).toBeGreaterThan(0);
    await state(page, 'chat', 'open');
  });

  test('recovers from an answer that makes a browser give up', async () => {
    const page = await context.newPage();
    let refusals = 0;
    await page.route('**/stream*', (route) => {
      refusals += 1;
      return refusals <= 2 ? route.fulfill({ status: 503, body: 'restarting' }) : route.continue();
    });
    await page.goto(service.url);
    await state(page, 'clock', 'open');
    expect(refusals).toBe(3);
    await nextText(page, 'clock');
  });

  test.each([320, 390, 1280])('fits a window %d pixels wide, light and dark', async (width) => {
    const page = await openPage();
    await page.setViewportSize({ width, height: 800 });
    await nextText(page, 'clock');
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const [content, window] = await page.evaluate(() => [
        document.documentElement.scrollWidth,
        document.documentElement.clientWidth,
      ]);
      expect(content).toBeLessThanOrEqual(window as number);
    }
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.emulateMedia({ colorScheme: 'light' });
    const light = await background();
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await background()).not.toBe(light);
  });

  test('is usable by keyboard: every control is reached by Tab', async () => {
    const page = await openPage();
    await state(page, 'chat', 'open');
    const controls = await page
      .locator('button:visible:enabled, input:visible:enabled, a[href]:visible, select:visible')
      .count();
    const reached = new Set<string>();
    for (let presses = 0; presses <= controls + 5; presses += 1) {
      await page.keyboard.press('Tab');
      const id = await page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
      if (id) reached.add(id);
    }
    for (const id of ['chat-user', 'chat-input', 'chat-send', 'log-pause', 'log-clear']) {
      expect(reached).toContain(id);
    }
  });
});

describe('the page of a service that leaves feeds out', () => {
  const sections = ['clock', 'counter', 'chat-list', 'chat-input', 'hub-topics', 'log'];

  test.each([
    ['none', ['hub-topics', 'log']],
    ['stream', ['clock', 'hub-topics', 'log']],
    ['chat events', ['chat-list', 'chat-input', 'hub-topics', 'log']],
    ['stream,events,counter,chat', sections],
  ])('shows and asks for those that are on, without an error: FEEDS=%s', async (FEEDS, shown) => {
    await service.stop();
    service = await startTestService({ FEEDS });
    const page = await context.newPage();
    const asked = new Set<string>();
    const failed: string[] = [];
    page.on('request', (request) => asked.add(new URL(request.url()).pathname));
    page.on('requestfailed', (request) => failed.push(request.url()));
    page.on('response', (response) => {
      if (response.status() >= 400) failed.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(service.url, { waitUntil: 'load' });

    const streams = { clock: '/stream', counter: '/counter', 'chat-list': '/messages' };
    const expected = Object.entries(streams).filter(([id]) => shown.includes(id));
    for (const [id] of expected) await state(page, id.replace('-list', ''), 'open');
    await testId(page, 'hub-topics').fill('news');
    await testId(page, 'hub-subscribe').click();
    await state(page, 'hub', 'open');

    const visible = [];
    for (const id of sections) {
      // A list without items has no height of its own.
      const section = testId(page, id).locator('xpath=ancestor-or-self::*[@class][1]');
      if (await section.isVisible()) visible.push(id);
    }
    expect(visible).toEqual(shown);
    expect([...asked].filter((path) => Object.values(streams).includes(path)).sort()).toEqual(
      expected.map(([, path]) => path).sort(),
    );
    expect(await page.locator('h1:visible').count()).toBe(1);
    expect(failed).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test.each(['none', 'stream', 'counter', 'chat'])(
    'fits windows of 320, 390 and 1280 pixels: FEEDS=%s',
    async (FEEDS) => {
      await service.stop();
      service = await startTestService({ FEEDS });
      const page = await openPage();
      for (const width of [320, 390, 1280]) {
        await page.setViewportSize({ width, height: 800 });
        const [content, window] = await page.evaluate(() => [
          document.documentElement.scrollWidth,
          document.documentElement.clientWidth,
        ]);
        expect(content).toBeLessThanOrEqual(window as number);
      }
    },
  );

  test('gives examples that the service answers: FEEDS=none', async () => {
    await service.stop();
    service = await startTestService({ FEEDS: 'none' });
    const page = await openPage();
    for (const id of ['snippet-browser', 'snippet-listen', 'snippet-send']) {
      const text = (await testId(page, id).textContent()) ?? '';
      expect(text).toContain('/hub');
      expect(text).not.toMatch(/\/(stream|message)/);
    }
  });
});

describe('a page from another origin, with credentials', () => {
  let other: Server;
  let origin: string;

  beforeEach(async () => {
    other = createServer((_, response) => {
      response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>other</title>');
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    origin = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  });

  afterEach(() => {
    other.close();
    other.closeAllConnections();
  });

  /** What an EventSource of the other origin's page comes to: the first currentTime, or an error. */
  async function subscribe(): Promise<string> {
    const page = await context.newPage();
    await page.goto(origin);
    return page.evaluate(
      (url) =>
        new Promise<string>((resolve) => {
          const source = new EventSource(url, { withCredentials: true });
          source.addEventListener('currentTime', ({ data }) => {
            source.close();
            resolve(data);
          });
          source.onerror = () => resolve(`error, readyState ${source.readyState}`);
        }),
      `${service.url}/stream`,
    );
  }

  test('receives events when its origin is allowed', async () => {
    await service.stop();
    service = await startTestService({ CORS_ORIGINS: origin });
    expect(await subscribe()).toMatch(/GMT$/);
  });

  test.each(['https://another.example', '*'])(
    'is refused when CORS_ORIGINS is %s',
    async (allowed) => {
      await service.stop();
      service = await startTestService({ CORS_ORIGINS: allowed });
      expect(await subscribe()).toBe('error, readyState 2');
      expect(complaints.join()).toMatch(/CORS/);
    },
  );
});
