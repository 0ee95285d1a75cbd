import { cp, rm } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import { keyOf } from '../src/journal/contract/keys.js';
import type { Entry, EntryRef, Journal, Position, Update } from '../src/journal/journal.js';
import { MAX_ENDINGS_BYTES } from '../src/journal/journal.js';
import { openRedisJournal, type RedisJournalOptions } from '../src/journal/redis/redis.js';
import {
  allEndings,
  dataOf,
  KEEP_ALL,
  readAll,
  until,
  untilTrimmed,
  update,
} from './support/journal-contract.js';
import {
  ask,
  type RedisServer,
  type RedisServerOptions,
  startRedis,
} from './support/redis-server.js';
import { startTcpProxy } from './support/tcp-proxy.js';

/** What is let go of after each test, the newest first. */
const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function startServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await startRedis({ persistence: 'none', ...options });
  opened.push(() => server.close());
  return server;
}

async function open(url: string, options: Partial<RedisJournalOptions> = {}): Promise<Journal> {
  const journal = await openRedisJournal({ ...KEEP_ALL, url, sync: 'os', ...options });
  opened.push(() => journal.close());
  return journal;
}

/** An update of one topic, whose data is its name. */
const of = (topic: string, rest: Partial<Update> = {}): Update =>
  update(topic, { topics: [topic], publisher: 'ada', ...rest });

const last = (topic: string, rest: Partial<Update> = {}): Update =>
  of(topic, { last: true, ...rest });

const reopening = (topic: string, rest: Partial<Update> = {}): Update =>
  of(topic, { reopen: true, ...rest });

/** The topics that have ended, in their order. */
async function endedTopics(journal: Journal): Promise<string[]> {
  return (await allEndings(journal)).flatMap(({ ended }) => ended).sort();
}

/** `made`, or the code of the error. */
async function outcome(append: Promise<unknown>): Promise<string> {
  return append.then(
    () => 'made',
    (error: { code: string }) => error.code,
  );
}

/** Appends until Redis takes it. */
async function appendSoon(
  journal: Journal,
  updates: readonly Update[],
  options = {},
): Promise<readonly EntryRef[]> {
  for (;;) {
    try {
      return await journal.append(updates, options);
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/UNAVAILABLE|OUTCOME_UNKNOWN/) });
      await wait(20);
    }
  }
}

const REFUSED = 'ERR_TOPIC_ENDED';
const AWAY = 'ERR_JOURNAL_UNAVAILABLE';

test('a topic that has ended stays so when Redis was killed, at every node, and one that was reopened goes on', async () => {
  const server = await startServer({ persistence: 'always' });
  const one = await open(server.url, { maxUpdates: 2 });
  const other = await open(server.url, { maxUpdates: 2 });
  await one.append([last('trimmed'), last('both')]);
  await other.append([last('reopened'), reopening('both'), last('held')]);
  await one.append([reopening('reopened'), of('more')]);
  await untilTrimmed(one, 2);
  const endings = await allEndings(one);
  await server.kill();
  await server.start();
  await appendSoon(one, [of('reopened'), of('both')]);
  await appendSoon(other, [of('more')]);
  for (const journal of [one, other, await open(server.url)]) {
    expect(await endedTopics(journal)).toEqual(['held', 'trimmed']);
    expect(await allEndings(journal)).toEqual(endings);
    for (const topic of ['trimmed', 'held']) {
      expect(await outcome(journal.append([of(topic)]))).toBe(REFUSED);
    }
  }
});

test('a replica that confirms appends has the endings as well: once it is the primary, the topics have ended', async () => {
  const primary = await startServer();
  const replica = await startServer({ config: { replicaof: `127.0.0.1 ${primary.port}` } });
  await until(async () =>
    String(await ask(replica.url, 'INFO', 'replication')).includes('status:up'),
  );
  const journal = await open(primary.url, { replicas: 1 });
  await appendSoon(journal, [last('a', { id: 'a' }), last('b', { id: 'b' })]);
  await appendSoon(journal, [reopening('b', { id: 'c' })]);
  await primary.kill();
  await ask(replica.url, 'REPLICAOF', 'NO', 'ONE');
  const promoted = await open(replica.url);
  expect(await endedTopics(promoted)).toEqual(['a']);
  expect(await outcome(promoted.append([of('a')]))).toBe(REFUSED);
  await promoted.append([of('b')]);
});

test('a last update that Redis has taken and not answered is answered as the first time when it is repeated, under its key or own id', async () => {
  const server = await startServer();
  const proxy = await startTcpProxy(server.port);
  opened.push(() => proxy.close());
  const journal = await open(`redis://127.0.0.1:${proxy.port}`);
  const direct = await open(server.url);
  const calls = [
    [[last('keyed')], keyOf('k')],
    [[last('own', { id: 'x' })], {}],
  ] as const;
  const append = (each: Journal) =>
    Promise.all(calls.map(([updates, options]) => outcome(each.append(updates, options))));
  proxy.hold('answers');
  expect(await append(journal)).toEqual(Array(2).fill('ERR_JOURNAL_OUTCOME_UNKNOWN'));
  await proxy.heal();
  for (const each of [direct, journal]) {
    for (const [updates, options] of calls) await appendSoon(each, updates, options);
    expect(await outcome(each.append([of('keyed')]))).toBe(REFUSED);
    expect(await endedTopics(each)).toEqual(['keyed', 'own']);
  }
  expect(dataOf(await readAll(direct))).toEqual(['keyed', 'own']);
});

describe('an append that is refused in its midst has ended and reopened nothing, and a repeat does', () => {
  const allow = [['ACL', 'SETUSER', 'default', '+@all']];
  const denied = (...commands: string[]): [string, string[][], string[][]] => [
    `without the permission for ${commands}`,
    [['ACL', 'SETUSER', 'default', ...commands.map((each) => `-${each}`)]],
    allow,
  ];
  const replaced = (name: string): [string, string[][], string[][]] => [
    `since its ${name} are of another type`,
    [
      ['RENAME', `{sse-hub}:${name}`, '{sse-hub}:saved'],
      ['SET', `{sse-hub}:${name}`, 'x'],
    ],
    [['RENAME', '{sse-hub}:saved', `{sse-hub}:${name}`]],
  ];
  test.each([
    [
      'since the memory is full',
      [['CONFIG', 'SET', 'maxmemory', '1']],
      [['CONFIG', 'SET', 'maxmemory', '0']],
    ] as [string, string[][], string[][]],
    denied('rpush'),
    denied('zrange'),
    denied('hdel'),
    denied('zrem'),
    replaced('ended'),
    replaced('endings'),
    replaced('ending-order'),
    replaced('ending-bytes'),
    replaced('endings-of:ada'),
    // Found out last of all, when the topics are written already.
    replaced('endings-of:bob'),
  ])('%s', async (_, before, after) => {
    const server = await startServer();
    const journal = await open(server.url);
    const other = await open(server.url);
    const told: Entry[] = [];
    const lost: Position[] = [];
    await other.follow({
      entries: (entries) => told.push(...entries),
      lost: (through) => lost.push(through),
    });
    await journal.append([
      last('one', { topics: ['one', 'two'] }),
      last('reopened later', { publisher: 'bob' }),
      last('stays'),
    ]);
    const endings = await allEndings(journal);
    const call = [
      last('new', { id: 'new' }),
      reopening('reopened later'),
      reopening('one', { topics: ['one', 'two'] }),
      last('two', { topics: ['two'] }),
    ];
    for (const command of before) await ask(server.url, ...command);
    expect(await outcome(journal.append(call))).toBe(AWAY);
    for (const command of after) await ask(server.url, ...command);
    await appendSoon(journal, [of('between')]);
    expect(await allEndings(other)).toEqual(endings);
    for (const topic of ['one', 'two', 'reopened later', 'stays']) {
      expect(await outcome(other.append([of(topic)]))).toBe(REFUSED);
    }
    expect(dataOf(await readAll(journal))).toEqual(['one', 'reopened later', 'stays', 'between']);

    await journal.append(call);
    expect(await endedTopics(other)).toEqual(['new', 'stays', 'two']);
    expect(await outcome(other.append([of('new')]))).toBe(REFUSED);
    await other.append([of('one'), of('reopened later')]);
    await until(() => told.length === 10);
    expect(told).toEqual(await readAll(journal));
    expect(lost).toEqual([]);
  });
});

describe('an ending goes with its update', () => {
  test('when Redis comes back without its newest updates: a repeat of the last one ends the topic', async () => {
    const server = await startServer({ persistence: 'always' });
    const journal = await open(server.url);
    await journal.append([last('kept'), last('reopened'), of('lost')]);
    const copy = `${server.directory}-copy`;
    const filter = (path: string): boolean => !path.endsWith('.sock');
    await cp(server.directory, copy, { recursive: true, filter });
    opened.push(() => rm(copy, { recursive: true, force: true }));
    const end = [last('lost', { id: 'end' }), reopening('reopened', { id: 'again' })];
    await journal.append(end);
    expect(await endedTopics(journal)).toEqual(['kept', 'lost']);
    await server.kill();
    await server.wipe();
    await cp(copy, server.directory, { recursive: true });
    await server.start();
    await appendSoon(journal, [of('other')]);
    expect(await endedTopics(journal)).toEqual(['kept', 'reopened']);
    await appendSoon(journal, end);
    expect(await endedTopics(journal)).toEqual(['kept', 'lost']);
    expect(await outcome(journal.append([of('lost')]))).toBe(REFUSED);
  });

  test.each([
    ['all keys', [['FLUSHALL']]],
    ['what holds the updates', [['DEL', 'meta', 'entries', 'index', 'ids'].map(toKey)]],
  ])(
    'when somebody removes %s: the journal begins anew, and nothing has ended',
    async (_, commands) => {
      const server = await startServer();
      const journal = await open(server.url);
      const keyed = keyOf('k');
      await journal.append([last('a'), last('b', { id: 'b' })], keyed);
      for (const command of commands) await ask(server.url, ...command);
      await appendSoon(journal, [of('c')]);
      expect(await endedTopics(journal)).toEqual([]);
      await journal.append([last('a'), last('b', { id: 'b' })], keyed);
      expect(dataOf(await readAll(journal))).toEqual(['c', 'a', 'b']);
      expect(await endedTopics(journal)).toEqual(['a', 'b']);
    },
  );

  test('when what was left of an append that was torn is removed', async () => {
    const server = await startServer();
    const journal = await open(server.url);
    const [ref] = await journal.append([last('kept')]);
    const [time = 0, number = 0] = String(ref?.position).split('-').map(Number);
    const torn = `${time + 1}-${number + 1}`;
    const value = JSON.stringify([['tgone\0\0'], false, time + 1, 'ada', 500]);
    for (const command of [
      [
        'XADD',
        toKey('entries'),
        torn,
        'h',
        '[["gone"],false,null,null,null,"ada",false,true]',
        'd',
        '',
      ],
      ['HSET', toKey('endings'), torn, value],
      ['ZADD', toKey('ending-order'), `${number + 1}`, torn],
      ['HSET', toKey('ended'), 'tgone\0\0', torn],
    ]) {
      await ask(server.url, ...command);
    }
    const another = await open(server.url);
    expect(await endedTopics(another)).toEqual(['kept']);
    await another.append([of('gone')]);
    expect(dataOf(await readAll(another))).toEqual(['kept', 'gone']);
  });
});

test('a topic to which a node of the version before has appended after its end goes on, at the other nodes as well', async () => {
  const server = await startServer();
  const journal = await open(server.url);
  await journal.append([last('a', { topics: ['a', 'b'] }), last('c')]);
  // What such a node appends knows of no endings.
  const bytes = String(await ask(server.url, 'HGET', toKey('meta'), 'endingsBytes'));
  await ask(server.url, 'HDEL', toKey('meta'), 'endingsBytes');
  await journal.append([of('a')]);
  await ask(server.url, 'HSET', toKey('meta'), 'endingsBytes', bytes);
  expect(await endedTopics(journal)).toEqual(['b', 'c']);
  expect(await outcome(journal.append([of('b')]))).toBe(REFUSED);
  await journal.append([of('a')]);
  await journal.append([last('a')]);
  expect(await endedTopics(journal)).toEqual(['a', 'b', 'c']);
  expect(await outcome(journal.append([of('a')]))).toBe(REFUSED);
  await journal.append([reopening('a', { topics: ['a', 'b', 'c'] })]);
  expect(await ask(server.url, 'KEYS', '{sse-hub}:end*')).toEqual([]);
});

describe('a Redis that has removed parts of what is remembered of endings', () => {
  const tooMuch = ['HSET', 'meta', 'endingsBytes', `${MAX_ENDINGS_BYTES + 1}`];
  test.each([
    ['which topics have ended', [['DEL', 'ended']], []],
    ['the endings', [['DEL', 'endings']], []],
    ['the endings, where there are too many', [['DEL', 'endings'], tooMuch], []],
    ['their order', [['DEL', 'ending-order'], tooMuch], []],
    ['how many bytes publishers have', [['DEL', 'ending-bytes']], ['a', 'b']],
    ['a list of a publisher', [['DEL', 'endings-of:ada']], ['a', 'b']],
    [
      'a list of a publisher that has too many',
      [['DEL', 'endings-of:ada'], tooMuch, ['ZADD', 'ending-bytes', '1000000', 'ada']],
      ['b'],
    ],
  ])('goes on without it (%s)', async (_, commands, left) => {
    const server = await startServer();
    const journal = await open(server.url);
    await journal.append([last('a'), last('b')]);
    for (const [command = '', key = '', ...rest] of commands) {
      await ask(server.url, command, toKey(key), ...rest);
    }
    await journal.append([last('c', { publisher: 'bob' })]);
    expect(await endedTopics(journal)).toEqual([...left, 'c']);
    const all = ['a', 'b', 'c'];
    const outcomes = await Promise.all(all.map((topic) => outcome(journal.append([of(topic)]))));
    const expected = all.map((topic) => ([...left, 'c'].includes(topic) ? REFUSED : 'made'));
    expect(outcomes).toEqual(expected);
    // There were not as many as was said.
    await ask(server.url, 'HSET', toKey('meta'), 'endingsBytes', '2000');
    for (const topic of all) await journal.append([last(topic, { reopen: true })]);
    expect(await endedTopics(journal)).toEqual(all);
    for (const topic of all) await journal.append([reopening(topic)]);
    expect(await endedTopics(journal)).toEqual([]);
    // What is left will be forgotten when it is too old.
    expect(await ask(server.url, 'EXISTS', toKey('ended'))).toBe(0);
    const held = (await ask(server.url, 'HKEYS', toKey('endings'))) as string[];
    const order = await ask(server.url, 'ZRANGE', toKey('ending-order'), '0', '-1');
    expect(order).toEqual(expect.arrayContaining(held));
  });
});

/** A key of the journal, unless it is a command. */
function toKey(name: string): string {
  return name === 'DEL' ? name : `{sse-hub}:${name}`;
}
