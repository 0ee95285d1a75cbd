import { cp, rm } from 'node:fs/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  BEGINNING,
  comparePositions,
  type Entry,
  type EntryRef,
  type Journal,
  type Position,
} from '../src/journal/journal.js';
import { openRedisJournal, type RedisJournalOptions } from '../src/journal/redis/redis.js';
import { dataOf, KEEP_ALL, readAll, until, update } from './support/journal-contract.js';
import {
  ask,
  type RedisServer,
  type RedisServerOptions,
  startRedis,
} from './support/redis-server.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';

/** What is let go of after each test, the newest first. */
const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function startServer(options?: RedisServerOptions): Promise<RedisServer> {
  const server = await startRedis(options);
  opened.push(() => server.close());
  return server;
}

/** A server, and a proxy before it. */
async function startBehindProxy(): Promise<{ server: RedisServer; proxy: TcpProxy; url: string }> {
  const server = await startServer({ persistence: 'none' });
  const proxy = await startTcpProxy(server.port);
  opened.push(() => proxy.close());
  return { server, proxy, url: `redis://127.0.0.1:${proxy.port}` };
}

interface Node {
  readonly journal: Journal;
  readonly notices: string[];
}

async function openNode(url: string, options: Partial<RedisJournalOptions> = {}): Promise<Node> {
  const notices: string[] = [];
  const journal = await openRedisJournal({
    ...KEEP_ALL,
    url,
    sync: 'os',
    onNotice: ({ message }) => notices.push(message),
    ...options,
  });
  opened.push(() => journal.close());
  return { journal, notices };
}

interface Heard {
  readonly entries: Entry[];
  readonly lost: Position[];
}

async function listen(journal: Journal, after?: Position): Promise<Heard> {
  const heard: Heard = { entries: [], lost: [] };
  await journal.follow(
    {
      entries: (entries) => heard.entries.push(...entries),
      lost: (through) => heard.lost.push(through),
    },
    after,
  );
  return heard;
}

/** Appends until it works again, and gives what was appended. */
async function appendAgain(journal: Journal, data: string): Promise<EntryRef> {
  for (;;) {
    try {
      const [ref] = await journal.append([update(data, { id: `once ${data}` })]);
      return ref as EntryRef;
    } catch (error) {
      expect(error).toMatchObject({
        code: expect.stringMatching(/^ERR_JOURNAL_(UNAVAILABLE|OUTCOME_UNKNOWN)$/),
      });
      await wait(20);
    }
  }
}

/** How an append ends, and after how many milliseconds. */
async function ending(journal: Journal, data: string): Promise<{ code: string; ms: number }> {
  const start = performance.now();
  const error = await journal.append([update(data)]).then(
    () => ({ code: 'appended' }),
    (reason: { code: string }) => reason,
  );
  return { code: error.code, ms: performance.now() - start };
}

const AWAY = { name: 'JournalError', code: 'ERR_JOURNAL_UNAVAILABLE' };
const UNKNOWN = { name: 'JournalError', code: 'ERR_JOURNAL_OUTCOME_UNKNOWN' };

describe('a Redis that goes away', () => {
  test.each(['stop', 'kill'] as const)(
    'by a %s: all is refused at once, and when it is back nothing is lost or repeated',
    async (how) => {
      const server = await startServer();
      const { journal, notices } = await openNode(server.url);
      const other = await openNode(server.url);
      const heard = await listen(journal);
      const heardByOther = await listen(other.journal);
      await journal.append([update('a'), update('b')]);
      await server[how]();
      await until(async () => notices.length === 1);
      const { code, ms } = await ending(journal, 'refused');
      expect(code).toBe('ERR_JOURNAL_UNAVAILABLE');
      expect(ms).toBeLessThan(1000);
      await expect(readAll(journal)).rejects.toMatchObject(AWAY);
      await expect(journal.ping()).rejects.toMatchObject(AWAY);
      await expect(journal.follow({ entries() {}, lost() {} })).rejects.toMatchObject(AWAY);

      await server.start();
      await appendAgain(other.journal, 'c');
      await appendAgain(journal, 'd');
      for (const each of [heard, heardByOther]) {
        await until(async () => each.entries.length === 4);
        expect(each.lost).toEqual([]);
        expect(each.entries).toEqual(await readAll(journal));
        expect(dataOf(each.entries)).toEqual(['a', 'b', 'c', 'd']);
      }
      expect(notices).toEqual([
        expect.stringMatching(/^The journal sse-hub at redis:.* is away: .+ It is tried again/),
        expect.stringMatching(/^The journal sse-hub at redis:.* is back after [\d.]+ s\.$/),
      ]);
    },
  );

  test('without a close, as when it is paused: an append ends within 5 seconds, with an outcome that is not known', async () => {
    const server = await startServer({ persistence: 'none' });
    const { journal } = await openNode(server.url);
    const heard = await listen(journal);
    await journal.append([update('a')]);
    server.pause();
    const reading = readAll(journal).catch((error: unknown) => error);
    const { code, ms } = await ending(journal, 'b');
    expect(code).toBe('ERR_JOURNAL_OUTCOME_UNKNOWN');
    expect(ms).toBeLessThan(5000);
    expect(await reading).toMatchObject(AWAY);
    expect(await ending(journal, 'c')).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    server.resume();
    await appendAgain(journal, 'd');
    await until(async () => dataOf(heard.entries).includes('d'));
    expect(heard.lost).toEqual([]);
    expect(heard.entries).toEqual(await readAll(journal));
  });

  test('while hundreds of appends wait: each ends, and what was acknowledged is there', async () => {
    const { proxy, url } = await startBehindProxy();
    const { journal } = await openNode(url);
    const appends = Array.from({ length: 300 }, async (_, n) => {
      await wait(n);
      await journal.append([update(`${n}`)]);
      return `${n}`;
    });
    const all = Promise.allSettled(appends);
    await Promise.any(appends);
    proxy.hold();
    const acknowledged = (await all).flatMap((each) =>
      each.status === 'fulfilled' ? [each.value] : [],
    );
    await proxy.heal();
    await appendAgain(journal, 'again');
    const held = dataOf(await readAll(journal));
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.filter((data) => !held.includes(data))).toEqual([]);
    expect(new Set(held).size).toBe(held.length);
  });

  test('behind a network that is cut and heals', async () => {
    const { proxy, url } = await startBehindProxy();
    const { journal } = await openNode(url);
    const heard = await listen(journal);
    await journal.append([update('a')]);
    await proxy.cut();
    await expect(until(async () => void (await journal.ping()) === null)).rejects.toMatchObject(
      AWAY,
    );
    expect(await ending(journal, 'refused')).toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    await proxy.heal();
    await appendAgain(journal, 'b');
    await until(async () => heard.entries.length === 2);
    expect(dataOf(heard.entries)).toEqual(['a', 'b']);
    expect(heard.lost).toEqual([]);
  });

  test('after it has taken an append, and before it has answered: a repeat with the key or own ids is answered as the first', async () => {
    const { server, proxy, url } = await startBehindProxy();
    const { journal } = await openNode(url);
    const direct = await openNode(server.url);
    const heard = await listen(journal);
    proxy.hold('answers');
    const keyed = [update('keyed'), update('keyed too')];
    const own = [update('own', { id: 'x' })];
    const key = { key: 'k', digest: 'd' };
    const results = await Promise.allSettled([journal.append(keyed, { key }), journal.append(own)]);
    expect(results).toEqual([
      { status: 'rejected', reason: expect.objectContaining(UNKNOWN) },
      { status: 'rejected', reason: expect.objectContaining(UNKNOWN) },
    ]);
    await proxy.heal();
    await appendAgain(journal, 'again');
    const first = await readAll(direct.journal);
    expect(dataOf(first)).toEqual(['keyed', 'keyed too', 'own', 'again']);
    const refs = first.map(({ id, position }) => ({ id, position }));
    expect(await journal.append(keyed, { key })).toEqual(refs.slice(0, 2));
    expect(await direct.journal.append(keyed, { key })).toEqual(refs.slice(0, 2));
    expect(await journal.append(own)).toEqual(refs.slice(2, 3));
    await until(async () => heard.entries.length === 4);
    expect(heard.entries).toEqual(first);
    expect(heard.lost).toEqual([]);
  });
});

describe('a Redis that refuses', () => {
  const refusals: [string, string[][], string[][], RegExp][] = [
    [
      'its memory is full',
      [['CONFIG', 'SET', 'maxmemory', '1']],
      [['CONFIG', 'SET', 'maxmemory', '0']],
      /OOM .*JOURNAL_MAX_BYTES/,
    ],
    [
      'it has become a replica',
      [['REPLICAOF', '127.0.0.1', '1']],
      [['REPLICAOF', 'NO', 'ONE']],
      /READONLY|replica/,
    ],
    [
      'it is without the replicas that it is to have',
      [['CONFIG', 'SET', 'min-replicas-to-write', '1']],
      [['CONFIG', 'SET', 'min-replicas-to-write', '0']],
      /NOREPLICAS/,
    ],
    [
      'its user may not append',
      [['ACL', 'SETUSER', 'default', '-xadd']],
      [['ACL', 'SETUSER', 'default', '+@all']],
      /permission/i,
    ],
  ];

  test.each(refusals)(
    'because %s: appends and pings are refused with the reason, nothing is written, and all goes on after it',
    async (_, before, after, reason) => {
      const server = await startServer({ persistence: 'none' });
      const { journal } = await openNode(server.url);
      const heard = await listen(journal);
      await journal.append([update('a')]);
      for (const command of before) await ask(server.url, ...command);
      const refused = journal.append([update('refused')]);
      await expect(refused).rejects.toMatchObject(AWAY);
      await expect(refused).rejects.toThrow(reason);
      await expect(journal.ping()).rejects.toMatchObject(AWAY);
      await expect(journal.ping()).rejects.not.toThrow(/user_script/);
      for (const command of after) await ask(server.url, ...command);
      await appendAgain(journal, 'b');
      await until(async () => heard.entries.length === 2);
      expect(dataOf(heard.entries)).toEqual(['a', 'b']);
      expect(dataOf(await readAll(journal))).toEqual(['a', 'b']);
      expect(heard.lost).toEqual([]);
    },
  );

  const midsts: [string, string[][], string[][]][] = [
    [
      'a permission was taken away',
      [['ACL', 'SETUSER', 'default', '-rpush']],
      [['ACL', 'SETUSER', 'default', '+@all']],
    ],
    [
      'the permission for what comes last was taken away',
      [['ACL', 'SETUSER', 'default', '-hexists', '-zincrby']],
      [['ACL', 'SETUSER', 'default', '+@all']],
    ],
    [
      'a key is of another type',
      [
        ['RENAME', '{sse-hub}:counts', '{sse-hub}:saved'],
        ['SET', '{sse-hub}:counts', 'x'],
      ],
      [['RENAME', '{sse-hub}:saved', '{sse-hub}:counts']],
    ],
  ];

  test.each(midsts)(
    'in the midst of an append, since %s: nobody is told of its updates, and a repeat is made anew',
    async (_, before, after) => {
      const server = await startServer({ persistence: 'none' });
      const { journal } = await openNode(server.url);
      const other = await openNode(server.url);
      const heard = await listen(other.journal);
      await journal.append([update('a')], { key: { key: 'first', digest: 'd' } });
      const attempts = () => [
        journal.append([update('own', { id: 'own id' }), update('also')]),
        journal.append([update('keyed')], { key: { key: 'key', digest: 'd' } }),
      ];
      for (const command of before) await ask(server.url, ...command);
      const refused = await Promise.allSettled(attempts());
      for (const command of after) await ask(server.url, ...command);
      expect(refused).toMatchObject([{ reason: AWAY }, { reason: AWAY }]);
      expect(dataOf(await readAll(other.journal))).toEqual(['a']);
      await appendAgain(journal, 'b');
      await Promise.all(attempts());
      const all = ['a', 'b', 'own', 'also', 'keyed'];
      expect(dataOf(await readAll(journal))).toEqual(all);
      expect(dataOf(await readAll(journal, { topics: ['t'] }))).toEqual(all);
      await until(async () => heard.entries.length >= all.length);
      expect(dataOf(heard.entries)).toEqual(all);
      expect(heard.lost).toEqual([]);
      expect(await ask(server.url, 'ZSCORE', '{sse-hub}:counts', 'nobody')).toBe(5);
    },
  );

  test('because it cannot save: the reason is told, and reads go on', async () => {
    const server = await startServer({ persistence: 'none', config: { save: '3600 1' } });
    const { journal } = await openNode(server.url);
    await journal.append([update('a')]);
    await rm(server.directory, { recursive: true });
    await ask(server.url, 'BGSAVE');
    await until(async () =>
      String(await ask(server.url, 'INFO', 'persistence')).includes('rdb_last_bgsave_status:err'),
    );
    await expect(journal.append([update('b')])).rejects.toThrow(/MISCONF .*disk has room/);
    await expect(journal.ping()).rejects.toMatchObject(AWAY);
    expect(dataOf(await readAll(journal))).toEqual(['a']);
    await ask(server.url, 'CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no');
    await journal.append([update('b')]);
  });

  test('while it loads its data: the reason is told, and all goes on when it has', async () => {
    const server = await startServer({ persistence: 'none' });
    const { journal, notices } = await openNode(server.url);
    const heard = await listen(journal);
    await journal.append(Array.from({ length: 100 }, (_, n) => update('x'.repeat(1000 + n))));
    await ask(server.url, 'SAVE');
    await server.kill();
    await server.startLoading({
      'key-load-delay': '200000',
      'loading-process-events-interval-bytes': '1024',
    });
    await appendAgain(journal, 'after');
    await until(async () => heard.entries.length === 101);
    expect(heard.lost).toEqual([]);
    expect(heard.entries).toEqual(await readAll(journal));
    expect(notices).toHaveLength(2);
  });
});

describe('a Redis that comes back without what it had', () => {
  const losses: [string, (server: RedisServer) => Promise<void>][] = [
    [
      'empty, since it was emptied',
      async (server) => {
        await ask(server.url, 'FLUSHALL');
      },
    ],
    [
      'empty, since it kept nothing',
      async (server) => {
        await server.kill();
        await server.wipe();
        await server.start();
      },
    ],
  ];

  test.each(losses)(
    '%s: followers are told, positions go on, and the log says so',
    async (_, lose) => {
      const server = await startServer();
      const { journal, notices } = await openNode(server.url);
      const other = await openNode(server.url);
      const heard = await listen(journal);
      const heardByOther = await listen(other.journal);
      const refs = await journal.append([update('a'), update('b'), update('c')]);
      const newest = (refs[2] as EntryRef).position;
      await lose(server);
      const next = await appendAgain(journal, 'd');
      const later = await appendAgain(other.journal, 'e');
      expect(comparePositions(newest, next.position)).toBeLessThan(0);
      expect(comparePositions(next.position, later.position)).toBeLessThan(0);
      for (const each of [heard, heardByOther]) {
        await until(async () => each.entries.length === 5);
        expect(dataOf(each.entries)).toEqual(['a', 'b', 'c', 'd', 'e']);
        expect(each.lost).toHaveLength(1);
        const [through] = each.lost as [Position];
        expect(comparePositions(newest, through)).toBeLessThan(0);
        expect(comparePositions(through, next.position)).toBeLessThan(0);
        expect((await journal.locate(through)).found).toBe(true);
      }
      expect([...notices, ...other.notices].join('\n')).toMatch(
        /has lost updates that were acknowledged: this node has seen \S+, and it is empty/,
      );
      // Clients that come back are told of a gap, however much they had.
      for (const { position } of refs) {
        expect(await journal.read({ ...KEEP, after: position })).toMatchObject({ trimmed: true });
      }
      expect(await journal.locate((refs[0] as EntryRef).position)).toEqual({
        found: false,
        reason: 'trimmed',
      });
      expect(await journal.trimmedTopics(newest, ['other'])).toBeUndefined();
    },
  );

  test('after it was away: a follower that is told so can read what is left at once', async () => {
    const server = await startServer();
    const { journal } = await openNode(server.url);
    const reads: Promise<unknown>[] = [];
    await journal.follow({
      entries: () => {},
      lost: (through) => reads.push(journal.read({ ...KEEP, through })),
    });
    await journal.append([update('a')]);
    await server.kill();
    // By then nobody waits for it to be back.
    await until(async () => (await ending(journal, 'b')).code === AWAY.code);
    await server.wipe();
    await server.start();
    await until(async () => reads.length > 0);
    expect(await Promise.all(reads)).toMatchObject([{ entries: [] }]);
  });

  test('behind, as after a failover that lost its newest: followers are told, and positions go on', async () => {
    const server = await startServer();
    const { journal, notices } = await openNode(server.url);
    const other = await openNode(server.url);
    const heard = await listen(journal);
    const heardByOther = await listen(other.journal);
    const [kept] = await journal.append([update('kept')]);
    const copy = `${server.directory}-copy`;
    await cp(server.directory, copy, {
      recursive: true,
      filter: (path) => !path.endsWith('.sock'),
    });
    opened.push(() => rm(copy, { recursive: true, force: true }));
    const gone = await journal.append([update('gone'), update('gone too')]);
    await until(async () => heardByOther.entries.length === 3);
    await server.kill();
    await server.wipe();
    await cp(copy, server.directory, { recursive: true });
    await server.start();

    const next = await appendAgain(other.journal, 'next');
    const newest = (gone[1] as EntryRef).position;
    expect(comparePositions(newest, next.position)).toBeLessThan(0);
    for (const each of [heard, heardByOther]) {
      await until(async () => each.entries.length === 4);
      expect(dataOf(each.entries)).toEqual(['kept', 'gone', 'gone too', 'next']);
      expect(each.lost).toHaveLength(1);
    }
    expect(dataOf(await readAll(journal))).toEqual(['kept', 'next']);
    expect(await journal.read({ ...KEEP, after: kept?.position })).toMatchObject({ trimmed: true });
    expect([...notices, ...other.notices].join('\n')).toMatch(
      /its newest updates are gone, some 2 of them/,
    );
  });

  test('of entries that were trimmed while a node was cut off: its followers are told up to where', async () => {
    const { server, proxy, url } = await startBehindProxy();
    const retention = { maxUpdates: 5 };
    const { journal } = await openNode(url, retention);
    const direct = await openNode(server.url, retention);
    const heard = await listen(journal);
    await journal.append([update('a')]);
    await proxy.cut();
    for (let n = 0; n < 20; n++) await direct.journal.append([update(`${n}`)]);
    await proxy.heal();
    await until(async () => dataOf(heard.entries).includes('19'));
    expect(dataOf(heard.entries)).toEqual(['a', '15', '16', '17', '18', '19']);
    expect(heard.lost).toHaveLength(1);
    const [, first] = heard.entries as [Entry, Entry];
    expect(comparePositions(heard.lost[0] as Position, first.position)).toBeLessThan(0);
  });
});

describe('a Redis that has removed parts of the journal', () => {
  const MIB = 1024 * 1024;
  const parts: [string, string[][]][] = [
    [
      'the list of a publisher that has too many keys',
      [
        ['HSET', '{sse-hub}:meta', 'keysBytes', `${20 * MIB}`],
        ['ZADD', '{sse-hub}:key-bytes', `${20 * MIB}`, 'somebody'],
      ],
    ],
    [
      'how many bytes of keys publishers have',
      [
        ['HSET', '{sse-hub}:meta', 'keysBytes', `${20 * MIB}`],
        ['DEL', '{sse-hub}:key-bytes'],
      ],
    ],
    [
      'the order of topics of which updates were trimmed',
      [['HSET', '{sse-hub}:meta', 'gapsLength', `${2 * MIB}`]],
    ],
    [
      'the topics themselves',
      [
        ['HSET', '{sse-hub}:meta', 'gapsLength', `${2 * MIB}`],
        ['ZADD', '{sse-hub}:gap-order', '1', 'x'],
      ],
    ],
  ];

  test.each(parts)('goes on without it (%s)', async (_, commands) => {
    const server = await startServer({ persistence: 'none' });
    const { journal } = await openNode(server.url, { maxUpdates: 2 });
    const append = (data: string) =>
      journal.append([update(data)], { key: { key: data, digest: 'd' } });
    for (const data of ['a', 'b', 'c']) await append(data);
    for (const command of commands) await ask(server.url, ...command);
    for (const data of ['d', 'e']) await append(data);
    await until(async () => dataOf(await readAll(journal)).join() === 'd,e');
  });
});

test('an entry that somebody else has put into the stream is left out and told as damage', async () => {
  const server = await startServer({ persistence: 'none' });
  const { journal, notices } = await openNode(server.url, { maxUpdates: 5 });
  await journal.append([update('a')]);
  const strange = [
    ['other', 'x'],
    ['h', 'no json', 'd', 'x'],
    ['h', '{}', 'd', 'x'],
  ];
  for (const fields of strange) await ask(server.url, 'XADD', '{sse-hub}:entries', '*', ...fields);
  await journal.append([update('b')]);
  expect(await journal.read(KEEP)).toMatchObject({ damaged: true });
  expect(dataOf(await readAll(journal, { topics: ['t'] }))).toEqual(['a', 'b']);
  const heard = await listen(journal, BEGINNING);
  const losses = heard.lost.length;
  await ask(server.url, 'XADD', '{sse-hub}:entries', '*', 'other', 'y');
  await until(async () => heard.lost.length > losses);
  for (let n = 0; n < 20; n++) await journal.append([update(`${n}`)]);
  await until(async () => dataOf(heard.entries).includes('19'));
  const numbers = Array.from({ length: 20 }, (_, n) => `${n}`);
  expect(dataOf(heard.entries)).toEqual(['a', 'b', ...numbers]);
  // How many are missing cannot be told of it.
  expect(notices.join('\n')).toMatch(/its newest updates are gone\./);
  expect(notices.join('\n')).not.toMatch(/some -?\d/);
});

const KEEP = { maxEntries: 1000, maxLength: 1_000_000 };
