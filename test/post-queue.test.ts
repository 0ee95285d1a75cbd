import { expect, test } from '@jest/globals';
import Koa from 'koa';
import request from 'supertest';
import type { Chat } from '../src/feeds/chat.js';
import { ChatError, PostQueue } from '../src/feeds/post-queue.js';
import { postMessage } from '../src/http/chat.js';
import type { Journal, Update } from '../src/journal/journal.js';
import { readText } from '../src/requests/body.js';
import { BodyBudget } from '../src/requests/body-budget.js';
import { problems } from '../src/requests/problem.js';

/** A journal whose disk answers when it is told to. */
function slowJournal() {
  const commits: { readonly updates: readonly Update[]; finish(error?: Error): void }[] = [];
  const append = (updates: readonly Update[]) =>
    new Promise((resolve, reject) => {
      const finish = (error?: Error) => (error ? reject(error) : resolve([]));
      commits.push({ updates, finish });
    });
  return { commits, journal: { append } as unknown as Journal };
}

const turn = () => new Promise(setImmediate);
const message = (n: number) => ({ user_id: 'ada', message: `${n} ${'x'.repeat(3_990)}` });

test('messages that wait for the disk are refused beyond a bound, and taken again after', async () => {
  const { journal, commits } = slowJournal();
  const posts = new PostQueue(journal, () => undefined);
  const accepted: Promise<void>[] = [];
  let refusal: unknown;
  for (let n = 0; n < 10_000 && !refusal; n += 1) {
    const post = posts.add(message(n));
    await Promise.race([post, turn()]).catch((error: unknown) => {
      refusal = error;
    });
    if (!refusal) accepted.push(post);
  }
  expect(refusal).toBeInstanceOf(ChatError);
  expect(refusal).toMatchObject({ code: 'ERR_CHAT_BUSY' });
  expect(accepted.length).toBeGreaterThan(1_000);
  expect(accepted.length).toBeLessThan(3_000);

  let done = false;
  const all = Promise.all(accepted).then(() => {
    done = true;
  });
  while (!done) {
    commits.shift()?.finish();
    await turn();
  }
  await all;
  const later = posts.add(message(0));
  await turn();
  commits.shift()?.finish();
  await later;
});

test('commits are small: at most 100 messages, in the order of their posts', async () => {
  const { journal, commits } = slowJournal();
  const posts = new PostQueue(journal, () => undefined);
  const all = Promise.all(
    Array.from({ length: 1_000 }, (_, n) => posts.add({ user_id: 'ada', message: `${n}` })),
  );
  const order: number[] = [];
  while (order.length < 1_000) {
    await turn();
    expect(commits).toHaveLength(1);
    const { updates, finish } = commits.shift() as (typeof commits)[number];
    expect(updates.length).toBeLessThanOrEqual(100);
    for (const { data } of updates) order.push(Number(JSON.parse(data).message));
    finish();
  }
  await all;
  expect(order).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
});

test('a disk that fails is logged once, however many posts meet it, and once when it works again', async () => {
  const { journal, commits } = slowJournal();
  const log: string[] = [];
  const posts = new PostQueue(journal, ({ message }) => log.push(message));
  const attempt = async (error?: Error) => {
    const post = posts.add(message(0)).then(
      () => 'kept',
      ({ code, message }: ChatError) => `${code} ${message}`,
    );
    await turn();
    commits.shift()?.finish(error);
    return post;
  };
  for (let n = 0; n < 10; n += 1) {
    const answer = await attempt(new Error('No space left on /secret/path'));
    expect(answer).toMatch(/^ERR_CHAT_UNAVAILABLE /);
    expect(answer).not.toContain('/secret/path');
  }
  expect(await attempt()).toBe('kept');
  expect(await attempt()).toBe('kept');
  expect(log).toEqual([
    'The chat cannot keep messages. Error: No space left on /secret/path',
    'The chat keeps messages again.',
  ]);
});

test.each([
  ['ERR_CHAT_BUSY', '1'],
  ['ERR_CHAT_UNAVAILABLE', '5'],
] as const)('%s is 503 with a reason and Retry-After: %s', async (code, seconds) => {
  const error = new ChatError(code, 'The reason.');
  const chat: Chat = {
    failure: undefined,
    post: () => Promise.reject(error),
    join: () => undefined,
    close: async () => undefined,
  };
  const app = new Koa();
  const logged: unknown[] = [];
  app.onerror = (error) => {
    if (!(error as { expose?: boolean }).expose) logged.push(error);
  };
  const readBody = readText({ maxBytes: 10_000, budget: () => new BodyBudget(100_000) });
  app.use(problems()).use(readBody).use(postMessage(chat));
  const response = await request(app.callback()).post('/message?id=ada').send({ message: 'Hi' });
  expect(response.status).toBe(503);
  expect(response.headers['retry-after']).toBe(seconds);
  expect(response.body).toMatchObject({ status: 503, detail: 'The reason.' });
  expect(logged).toEqual([]);
});
