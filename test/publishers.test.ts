import { get } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { SignJWT } from 'jose';
import { Hub } from '../src/hub/hub.js';
import type { ValidUpdates } from '../src/hub/update.js';
import { type EntryRef, parsePosition } from '../src/journal/journal.js';
import { Presence } from '../src/mercure/presence.js';
import type { Service } from '../src/service.js';
import { EventStream } from '../src/sse/event-stream.js';
import { compileSelector } from '../src/topics/selector.js';
import { openTestHub } from './support/hub.js';
import { JWT_KEY, startTestService } from './support/server.js';

let service: Service | undefined;

afterEach(async () => {
  await service?.stop();
  service = undefined;
  jest.restoreAllMocks();
});

const start = async (env: Record<string, string> = {}): Promise<void> => {
  service = await startTestService(env);
};

/** A token that grants its bearer to publish, with a `sub` or without one. */
const tokenFor = ({ publish, sub }: { publish: string[]; sub?: string }): Promise<string> => {
  const token = new SignJWT({ mercure: { publish } }).setProtectedHeader({ alg: 'HS256' });
  if (sub !== undefined) token.setSubject(sub);
  return token.sign(Buffer.from(JWT_KEY));
};

/** Publishes as a form. */
const publish = async (
  token: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> => {
  const response = await fetch(`${service?.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, ...headers },
    body: new URLSearchParams(fields),
  });
  return { status: response.status, body: await response.text() };
};

/** The data of what is held of a topic, as far as a marker that is published for it. */
const heldOf = async (topic: string, token: string): Promise<string[]> => {
  const marker = `end ${Math.random()}`;
  await publish(token, { topic, data: marker });
  const text = await new Promise<string>((resolve, reject) => {
    let read = '';
    get(`${service?.url}/hub?topic=${topic}&lastEventID=earliest`, (response) => {
      response.setEncoding('utf8').on('data', (chunk: string) => {
        read += chunk;
        if (!read.includes(marker)) return;
        response.destroy();
        resolve(read);
      });
    }).on('error', reject);
  });
  return [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => data as string).slice(0, -1);
};

describe('publishers with different grants', () => {
  test('use the same id, each for an update of its own', async () => {
    await start();
    const [ada, bob] = await Promise.all([
      tokenFor({ publish: ['ada', 'all'], sub: 'ada' }),
      tokenFor({ publish: ['bob', 'all'], sub: 'bob' }),
    ]);
    const same = { id: 'order:7', private: 'on' };
    expect(await publish(ada, { ...same, topic: 'ada', data: 'a' })).toEqual({
      status: 200,
      body: 'order:7',
    });
    expect(await publish(bob, { ...same, topic: 'bob', data: 'b' })).toEqual({
      status: 200,
      body: 'order:7',
    });
    // On a topic that both may publish to as well.
    await publish(ada, { topic: 'all', id: 'x', data: 'of ada' });
    await publish(bob, { topic: 'all', id: 'x', data: 'of bob' });
    expect(await heldOf('all', ada)).toEqual(['of ada', 'of bob']);
  });

  test('use the same Idempotency-Key, also if they have no sub or the same', async () => {
    await start();
    const key = { 'Idempotency-Key': 'k' };
    for (const sub of [{}, { sub: 'the same' }]) {
      const [ada, bob] = await Promise.all([
        tokenFor({ publish: ['ada', 'all'], ...sub }),
        tokenFor({ publish: ['bob', 'all'], ...sub }),
      ]);
      const first = await publish(ada, { topic: 'all', data: 'of ada' }, key);
      const second = await publish(bob, { topic: 'all', data: 'of bob' }, key);
      expect([first.status, second.status]).toEqual([200, 200]);
      expect(first.body).not.toBe(second.body);
      expect(await publish(ada, { topic: 'all', data: 'of ada' }, key)).toEqual(first);
      expect((await publish(bob, { topic: 'all', data: 'other' }, key)).status).toBe(422);
    }
  });
});

test('publishers with the same grants share ids, in whatever order the grants are, and not their keys', async () => {
  await start();
  const [ada, bob] = await Promise.all([
    tokenFor({ publish: ['a', 'b'], sub: 'ada' }),
    tokenFor({ publish: ['b', 'a', 'b'], sub: 'bob' }),
  ]);
  const update = { topic: 'a', data: 'once', id: 'x' };
  expect(await publish(ada, update)).toEqual({ status: 200, body: 'x' });
  expect(await publish(bob, update)).toEqual({ status: 200, body: 'x' });
  expect((await publish(bob, { ...update, data: 'other' })).status).toBe(422);
  const key = { 'Idempotency-Key': 'k' };
  for (const token of [ada, bob]) {
    expect((await publish(token, { topic: 'a', data: token }, key)).status).toBe(200);
  }
  expect(await heldOf('a', ada)).toEqual(['once', ada, bob]);
});

test('an Idempotency-Key counts to its publisher: the sub of the token, or what it grants', async () => {
  await start();
  const appended = jest.spyOn(Hub.prototype, 'publish');
  const tokens = await Promise.all([
    tokenFor({ publish: ['a'], sub: 'ada' }),
    tokenFor({ publish: ['a', 'b'], sub: 'ada' }),
    tokenFor({ publish: ['a'], sub: 'bob' }),
    tokenFor({ publish: ['a'] }),
    tokenFor({ publish: ['a', 'b'] }),
  ]);
  const publishers: unknown[] = [];
  for (const token of tokens) {
    await publish(token, { topic: 'a' }, { 'Idempotency-Key': 'k' });
    const [updates, options] = appended.mock.calls.at(-1) ?? [];
    const [update] = (updates as ValidUpdates).list;
    expect(options?.key?.publisher).toBe(update?.publisher);
    publishers.push(options?.key?.publisher);
  }
  const [ada, adaToo, ...others] = publishers;
  expect(ada).toBe(adaToo);
  expect(new Set([ada, ...others]).size).toBe(4);
});

test('an Idempotency-Key may be as long as allowed, whatever its publisher is called', async () => {
  await start();
  const token = await tokenFor({ publish: ['a'], sub: 'é'.repeat(2000) });
  const key = { 'Idempotency-Key': 'k'.repeat(256) };
  const first = await publish(token, { topic: 'a', data: '1' }, key);
  expect(first.status).toBe(200);
  expect(await publish(token, { topic: 'a', data: '1' }, key)).toEqual(first);
  expect((await publish(token, { topic: 'a', data: '2' }, key)).status).toBe(422);
  const tooLong = { 'Idempotency-Key': 'k'.repeat(257) };
  expect(await publish(token, { topic: 'a' }, tooLong)).toMatchObject({
    status: 400,
    body: expect.stringMatching(/256 bytes/),
  });
});
function sequenceOf(ref: EntryRef | undefined): number {
  return parsePosition(ref?.position as string)[1];
}

describe('a flood', () => {
  test('of one publisher leaves the history of another', async () => {
    await start({ JOURNAL_MAX_UPDATES: '20', WINDOW_MAX_BYTES: '0' });
    const [ada, bob] = await Promise.all([
      tokenFor({ publish: ['*'], sub: 'ada' }),
      tokenFor({ publish: ['*'], sub: 'bob' }),
    ]);
    for (let n = 0; n < 5; n++) await publish(bob, { topic: 'b', data: `${n}` });
    for (let n = 0; n < 100; n++) await publish(ada, { topic: 'a', data: `${n}` });
    expect(await heldOf('b', bob)).toEqual(['0', '1', '2', '3', '4']);
  });

  test('of large updates is told apart by tokens without a sub, too', async () => {
    await start({ JOURNAL_MAX_BYTES: '100000', WINDOW_MAX_BYTES: '0' });
    const [ada, bob] = await Promise.all([
      tokenFor({ publish: ['a'] }),
      tokenFor({ publish: ['b'] }),
    ]);
    for (let n = 0; n < 5; n++) await publish(bob, { topic: 'b', data: `${n}` });
    for (let n = 0; n < 50; n++) await publish(ada, { topic: 'a', data: 'x'.repeat(10_000) });
    expect(await heldOf('b', bob)).toEqual(['0', '1', '2', '3', '4']);
    expect((await heldOf('a', ada)).length).toBeLessThanOrEqual(10);
  });

  test('of subscriptions that start holds up no publish by more than 500 announcements', async () => {
    const { hub, journal } = await openTestHub();
    const presence = new Presence({
      publish: (updates, options) => hub.publish(updates, options),
    });
    const announced = new Promise<void>((resolve, reject) => {
      journal.follow({ entries: () => resolve(), lost: reject }).catch(reject);
    });
    const streams = Array.from({ length: 100 }, () => new EventStream());
    for (const [client, stream] of streams.entries()) {
      const topics = Array.from({ length: 100 }, (_, index) => `${client}/${index}`);
      presence.start(stream, topics.map(compileSelector), undefined);
    }
    await announced;
    const [ref] = await hub.publish([{ topics: ['t'], data: '' }]);
    expect(sequenceOf(ref)).toBeLessThanOrEqual(1_501);

    while (sequenceOf((await journal.bounds()).head) < 10_001) await new Promise(setImmediate);
    const listed = [];
    for await (const page of presence.list()) listed.push(...page);
    expect(listed).toHaveLength(10_000);
    for (const stream of streams) stream.destroy();
    presence.close();
    hub.close();
    await journal.close();
  });

  test('of subscriptions that open and close trims no update', async () => {
    await start({ JOURNAL_MAX_UPDATES: '20', WINDOW_MAX_BYTES: '0', SUBSCRIPTIONS: 'true' });
    const token = await tokenFor({ publish: ['*'] });
    for (let n = 0; n < 10; n++) await publish(token, { topic: 't', data: `${n}` });
    const openAndClose = (): Promise<void> =>
      new Promise((resolve, reject) => {
        get(`${service?.url}/hub?topic=x&topic=y&topic=z`, (response) => {
          response
            .once('data', () => response.destroy())
            .once('close', resolve)
            .on('error', () => {});
        }).on('error', reject);
      });
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 30 }, openAndClose));
    }
    expect(await heldOf('t', token)).toEqual(Array.from({ length: 10 }, (_, n) => `${n}`));
  });
});
