import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { launchBrowser } from './support/browser.js';
import { freePort } from './support/free-port.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { connect, type SseClient } from './support/sse-client.js';

const API_KEY = 'the-key-of-the-model';

/** A request to the model, which the test answers. */
interface Asked {
  readonly request: IncomingMessage;
  readonly body: { model: string; stream: boolean; messages: unknown[] };
  readonly response: ServerResponse;
  /** Sends this as the model's next event. */
  send(data: unknown): void;
  write(token: string): void;
  /** Ends the answer as the model does when it has said everything. */
  finish(): void;
}

let browser: Browser;
let model: Awaited<ReturnType<typeof startModel>>;
/** With the model, and a journal in memory. */
let program: Program;
let context: BrowserContext;
/** What the pages of the running test have complained about. */
let complaints: string[];

beforeAll(async () => {
  browser = await launchBrowser();
  model = await startModel();
  program = await start();
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
  model.reset();
});

afterAll(async () => {
  await browser.close();
  await killPrograms();
  model.server.close();
});

const start = (env: Record<string, string | undefined> = {}) =>
  runProgram('scripts/example.js', {
    args: ['tokens'],
    env: {
      JOURNAL: 'memory:',
      OPENAI_BASE_URL: `${model.url}/v1/`,
      OPENAI_API_KEY: API_KEY,
      OPENAI_MODEL: 'a-model',
      ...env,
    },
  });

/** Speaks OpenAI's wire format, as the test says. */
async function startModel() {
  let waiting: ((asked: Asked) => void) | undefined;
  let queue: Asked[] = [];
  let open: ServerResponse[] = [];
  const server = createServer(async (request, response) => {
    const body = (await json(request)) as Asked['body'];
    const send = (data: unknown) => {
      const text = typeof data === 'string' ? data : JSON.stringify(data);
      if (!response.headersSent) response.setHeader('Content-Type', 'text/event-stream');
      response.write(`data: ${text}\n\n`);
    };
    const choice = (choice: object) => ({ object: 'chat.completion.chunk', choices: [choice] });
    const asked: Asked = {
      request,
      body,
      response,
      send,
      write: (content) => send(choice({ index: 0, delta: { content }, finish_reason: null })),
      finish() {
        send(choice({ index: 0, delta: {}, finish_reason: 'stop' }));
        send({ object: 'chat.completion.chunk', choices: [], usage: { total_tokens: 7 } });
        send('[DONE]');
        response.end();
      },
    };
    open.push(response);
    if (waiting) waiting(asked);
    else queue.push(asked);
    waiting = undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    server,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** The next request to the model. */
    async asked(): Promise<Asked> {
      const first = queue.shift();
      return first ?? new Promise((resolve) => (waiting = resolve));
    },
    /** Leaves all requests that are open, and expects no others to have come. */
    reset() {
      for (const response of open) response.destroy();
      const left = queue.length;
      open = [];
      queue = [];
      waiting = undefined;
      expect(left).toBe(0);
    },
  };
}

async function openPage(url = program.url): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

/** Asks on a page, and resolves when the page has the address of the generation. */
async function generate(page: Page, prompt: string): Promise<void> {
  await page.locator('[name=prompt]').fill(prompt);
  await page.locator('#ask button').click();
  await page.waitForURL(/#.{36}$/);
}

/** Waits until a page shows this as the generation's text, to the end. */
const shown = (page: Page, text: string) =>
  page.waitForFunction((text) => document.querySelector('#text')?.textContent === text, text);

const state = (page: Page, state: string, words: string) =>
  page.locator(`[data-state="${state}"] #state`).filter({ hasText: words }).waitFor();

const post = (body: unknown, headers: Record<string, string> = {}, to = program) =>
  fetch(`${to.url}/generations`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

/** Starts a generation without a page, and returns its address. */
async function begin(prompt: string, to = program): Promise<string> {
  const answer = await post({ prompt }, {}, to);
  expect(answer.status).toBe(202);
  return `${to.url}/generations/${((await answer.json()) as { id: string }).id}`;
}

/** All that comes of a generation until the server ends its stream. */
async function allOf(client: SseClient): Promise<{ event: string; data: string; id: string }[]> {
  const events: { event: string; data: string; id: string }[] = [];
  await client.ended;
  for (;;) {
    const next = await client.next().catch(() => undefined);
    if (next === undefined) return events;
    events.push({ event: next.event ?? 'message', data: next.data, id: next.id ?? '' });
  }
}

/** How a generation ends, as somebody is told who comes later. */
async function endOf(url: string): Promise<{ event: string; data: string }> {
  const client = await connect(url);
  const { event = '', data = '' } = (await allOf(client)).at(-1) ?? {};
  return { event, data };
}

const tokens = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, n) => `<b>${from + n}</b>${(from + n) % 5 ? ' ' : '\n\n'}`);

describe('the example tokens', () => {
  test('loses and repeats no token when the page is reloaded in the middle, and in a second tab', async () => {
    const page = await openPage();
    await generate(page, 'Count & <i>count</i>');
    const asked = await model.asked();
    await state(page, 'waiting', 'Waiting for the model');
    for (const token of tokens(0, 10)) asked.write(token);
    await shown(page, tokens(0, 10).join(''));
    const second = await openPage(page.url());
    await shown(second, tokens(0, 10).join(''));

    const reloaded = page.reload({ waitUntil: 'commit' });
    for (const token of tokens(10, 15)) asked.write(token);
    await reloaded;
    for (const token of tokens(15, 20)) asked.write(token);
    for (const tab of [page, second]) {
      await shown(tab, tokens(0, 20).join(''));
      await state(tab, 'writing', 'Writing');
    }
    asked.finish();
    for (const tab of [page, second]) await state(tab, 'done', 'Done.');

    await second.reload();
    await state(second, 'done', 'Done.');
    for (const tab of [page, second]) {
      await shown(tab, tokens(0, 20).join(''));
      expect(await tab.locator('#prompt').textContent()).toBe('Count & <i>count</i>');
      expect(await tab.locator('#text b').count()).toBe(0);
    }
    expect(complaints).toEqual([]);
  });

  test('asks the model for a stream, with the key, which is told to nobody', async () => {
    const client = await connect(await begin('Why?'));
    const { request, body, write, finish } = await model.asked();
    expect(request.url).toBe('/v1/chat/completions');
    expect(request.headers.authorization).toBe(`Bearer ${API_KEY}`);
    expect(body).toEqual({
      model: 'a-model',
      stream: true,
      messages: [{ role: 'user', content: 'Why?' }],
    });
    expect(await client.next()).toMatchObject({ event: 'prompt', data: 'Why?' });
    write('Because.');
    finish();
    expect((await allOf(client)).map(({ data }) => data)).toEqual(['Because.', '']);
    expect(program.stdout() + program.stderr() + client.bytes()).not.toContain(API_KEY);
  });

  test('answers 204 to those who come back after the end, and sends all to those who come late', async () => {
    const url = await begin('Say hello');
    const asked = await model.asked();
    const live = await connect(url);
    asked.write('Hel');
    asked.write('lo');
    asked.finish();
    const events = await allOf(live);
    const late = await allOf(await connect(url));
    expect(late).toEqual(events);
    const { id = '', event } = events.at(-1) ?? {};
    expect(event).toBe('end');
    const again = await fetch(url, { headers: { 'Last-Event-ID': id } });
    expect(again.status).toBe(204);
    const behind = await connect(url, { 'Last-Event-ID': events[0]?.id ?? '' });
    expect(await allOf(behind)).toEqual(events.slice(1));
  });

  test('tells a failure from an end, and keeps the text so far', async () => {
    const page = await openPage();
    await generate(page, 'Go on');
    const asked = await model.asked();
    asked.write('So far ');
    await shown(page, 'So far ');
    asked.response.destroy();
    await state(page, 'failed', 'The connection to the model has failed.');
    await page.reload();
    await state(page, 'failed', 'The connection to the model has failed.');
    await shown(page, 'So far ');
  });

  const SECRET = 'org-1234 has exceeded its quota';
  test.each<[string, string, (asked: Asked) => void]>([
    [
      'an error in the middle',
      'The model has failed.',
      ({ write, send }) => {
        write('So far');
        send({ error: { message: SECRET, type: 'server_error' } });
      },
    ],
    [
      'an answer that ends without its end',
      'The model broke off.',
      ({ write, response }) => {
        write('So far');
        response.end();
      },
    ],
    ['events that are none', 'The model cannot be understood.', ({ send }) => send('{"choices')],
    [
      'an answer that is no stream',
      'The model refuses.',
      ({ response }) => response.setHeader('Content-Type', 'application/json').end('{}'),
    ],
    [
      'a request that is refused',
      'The model refuses.',
      ({ response }) => response.writeHead(401).end(SECRET),
    ],
    [
      'a model that is busy for long',
      'The model is busy. Try again later.',
      ({ response }) => response.writeHead(429, { 'Retry-After': '3600' }).end(SECRET),
    ],
    [
      'a text that is cut off',
      'The model may write no more than this.',
      ({ send }) => send({ choices: [{ delta: { content: 'So' }, finish_reason: 'length' }] }),
    ],
    ['a text without end', 'The text became too long.', ({ write }) => write('x'.repeat(100_001))],
    [
      'a text that is withheld',
      'The model refuses to go on.',
      ({ send }) => send({ choices: [{ delta: {}, finish_reason: 'content_filter' }] }),
    ],
  ])('says what has failed: %s', async (_, words, answer) => {
    const url = await begin('Go on');
    answer(await model.asked());
    expect(await endOf(url)).toEqual({ event: 'failure', data: words });
    const { bytes, ended } = await connect(url);
    await ended;
    expect(bytes().toString()).not.toContain(SECRET);
  });

  test('asks again where a model is busy for a moment, and gives up after three times', async () => {
    const busy = ({ response }: Asked, status: number) =>
      response.writeHead(status, { 'Retry-After': '0' }).end();
    const url = await begin('Go on');
    busy(await model.asked(), 429);
    busy(await model.asked(), 500);
    const { write, finish } = await model.asked();
    write('Here it is.');
    finish();
    expect((await allOf(await connect(url))).map(({ data }) => data)).toEqual([
      'Go on',
      'Here it is.',
      '',
    ]);

    const other = await begin('Go on');
    for (const status of [503, 503, 503]) busy(await model.asked(), status);
    expect(await endOf(other)).toEqual({
      event: 'failure',
      data: 'The model is busy. Try again later.',
    });
  });

  test('does not wait for ever for a model that is silent', async () => {
    const impatient = await start({ MAX_SILENCE_MS: '2000' });
    const url = await begin('Think', impatient);
    const { response } = await model.asked();
    const left = once(response, 'close');
    expect(await endOf(url)).toEqual({
      event: 'failure',
      data: 'The model is silent.',
    });
    await left;
    await impatient.kill();
  });

  test('is stopped by the page, in all tabs, and leaves the model', async () => {
    const page = await openPage();
    await generate(page, 'Go on');
    const asked = await model.asked();
    const left = once(asked.response, 'close');
    asked.write('So far ');
    const second = await openPage(page.url());
    await shown(second, 'So far ');
    await page.locator('#stop').click();
    for (const tab of [page, second]) {
      await state(tab, 'stopped', 'Stopped.');
      await shown(tab, 'So far ');
      expect(await tab.locator('#stop').isVisible()).toBe(false);
    }
    await left;
    const { status } = await fetch(
      `${program.url}/generations/${new URL(page.url()).hash.slice(1)}`,
      { method: 'DELETE' },
    );
    expect(status).toBe(404);
  });

  test('ends as failed, after a kill and a restart, what was under way, and nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'koa-sse-hub-tokens-'));
    const env = { JOURNAL: `lmdb:${folder}`, PORT: String(await freePort()) };
    const first = await start(env);
    const finished = await begin('Say hello', first);
    const { write, finish } = await model.asked();
    write('Hello');
    finish();
    expect(await endOf(finished)).toMatchObject({ event: 'end' });

    const page = await openPage(first.url);
    await generate(page, 'Go on');
    const asked = await model.asked();
    asked.write('So far ');
    await shown(page, 'So far ');
    await first.kill();
    await state(page, 'waiting', 'Trying again');
    const second = await start(env);
    await state(page, 'failed', 'The server was restarted in the middle.');
    await shown(page, 'So far ');
    const failed = `${second.url}/generations/${new URL(page.url()).hash.slice(1)}`;
    expect(await endOf(failed)).toMatchObject({ event: 'failure' });
    expect(await endOf(finished)).toMatchObject({ event: 'end' });
    await second.kill();
    await rm(folder, { recursive: true });
  }, 60_000);

  test('invents a text without a model', async () => {
    const local = await start({ OPENAI_BASE_URL: undefined });
    const page = await openPage(local.url);
    await generate(page, 'Hello?');
    await state(page, 'done', 'Done.');
    const text = (await page.locator('#text').textContent()) ?? '';
    expect(text).toMatch(/^You ask: “Hello\?”\n\n(the|a) \w+ .*\.\n$/s);
    await page.reload();
    await shown(page, text);
    await local.kill();
    expect(complaints).toEqual([]);
  });

  test('refuses what it cannot take, and says why', async () => {
    const refusal = async (body: unknown, headers = {}) => {
      const answer = await post(body, headers);
      return `${answer.status} ${await answer.text()}`;
    };
    const form = { 'Content-Type': 'text/plain' };
    expect(await refusal('Go on', form)).toBe('415 Send JSON, as application/json.');
    expect(await refusal('{')).toBe('400 The body is no JSON.');
    expect(await refusal({ prompt: 'x'.repeat(16_384) })).toBe(
      '413 A body has at most 16384 bytes.',
    );
    for (const body of ['null', '{}', '{"prompt":" "}', '{"prompt":7}']) {
      expect(await refusal(body)).toBe('400 prompt is missing.');
    }
    for (const id of ['{x}', '*', 'x'.repeat(2_000), '0'.repeat(36)]) {
      const { status } = await fetch(`${program.url}/generations/${encodeURIComponent(id)}`);
      expect(status).toBe(404);
    }
    const page = await openPage(`${program.url}/#${'0'.repeat(36)}`);
    await state(page, 'failed', 'There is no such generation.');
  });

  test('runs twenty generations at a time, and no more', async () => {
    const urls = await Promise.all(Array.from({ length: 20 }, () => begin('Go on')));
    const refused = await post({ prompt: 'Go on' });
    expect(refused.status).toBe(503);
    expect(refused.headers.get('Retry-After')).toBe('10');
    expect(await refused.text()).toBe('Too many generations are under way. Try again later.');
    for (const _ of urls) await model.asked();
    for (const url of urls) await fetch(url, { method: 'DELETE' });
    for (const url of urls) expect(await endOf(url)).toMatchObject({ event: 'cancelled' });
    const next = await begin('Go on');
    await model.asked();
    await fetch(next, { method: 'DELETE' });
  });
});
