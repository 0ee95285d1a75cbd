import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { connect } from './support/sse-client.js';

let browser: Browser;
let program: Program;
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
});

beforeEach(async () => {
  complaints = [];
  program = await runProgram('scripts/example.js', { args: ['dashboard'] });
});

afterEach(killPrograms);
afterAll(() => browser.close());

async function openPage(): Promise<Page> {
  const page = await browser.newPage();
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(program.url);
  return page;
}

/** Waits until a gauge of the page shows this, and returns it. */
async function shown(page: Page, gauge: string, pattern: RegExp): Promise<string> {
  const output = page.locator(`#${gauge}`).filter({ hasText: pattern });
  await output.waitFor();
  return (await output.textContent()) ?? '';
}

describe('the example dashboard', () => {
  test('gives a client the latest value of each gauge on connect, also of one that never changes', async () => {
    const first = await connect(`${program.url}/updates?topic=gauges/started&latest=1`);
    const { event, data } = await first.next();
    expect(event).toBe('started');
    const second = await connect(
      `${program.url}/updates?topic=gauges/started&topic=gauges/memory&latest=1`,
    );
    const events = await second.take(2);
    expect(events.map(({ event }) => event).sort()).toEqual(['memory', 'started']);
    expect(events.find(({ event }) => event === 'started')?.data).toBe(data);
    first.abort();
    second.abort();
  });

  test('has every gauge on its page, and changes them while it is open', async () => {
    const page = await openPage();
    const started = await shown(page, 'started', /^\d{4}-.*Z$/);
    await shown(page, 'load', /^\d+\.\d\d$/);
    const memory = await shown(page, 'memory', /^\d+$/);
    await shown(page, 'delay', /^\d+$/);
    await shown(page, 'viewers', /^1$/);
    expect(Number(memory)).toBeLessThanOrEqual(100);
    expect(await page.locator('#state').textContent()).toBe('live');

    const other = await openPage();
    expect(await shown(other, 'started', /Z$/)).toBe(started);
    await shown(page, 'viewers', /^2$/);
    await other.close();
    await shown(page, 'viewers', /^1$/);
    await page.close();
    expect(complaints).toEqual([]);
  });

  test('says that it reconnects when its server is gone', async () => {
    const page = await openPage();
    await shown(page, 'viewers', /^1$/);
    await program.kill();
    await page.locator('#state').filter({ hasText: 'reconnecting' }).waitFor();
    await page.close();
  });

  test('lets nobody publish', async () => {
    const body = new URLSearchParams({ topic: 'gauges/load', data: '0.00' });
    const { status } = await fetch(`${program.url}/updates`, { method: 'POST', body });
    expect(status).toBe(503);
  });
});
