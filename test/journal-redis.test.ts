import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Entry, Journal, Retention } from '../src/journal/journal.js';
import { REDIS_OVERHEAD } from '../src/journal/redis/entry.js';
import { openRedisJournal } from '../src/journal/redis/redis.js';
import {
  KEEP_ALL,
  readAll,
  setClock,
  testContract,
  until,
  update,
} from './support/journal-contract.js';
import { type RedisServer, startRedis } from './support/redis-server.js';

let redis: RedisServer;
let journals = 0;

beforeAll(async () => {
  redis = await startRedis({ persistence: 'none' });
});

afterAll(() => redis.close());

/** Its clock is that of this process, as the contract's cases set it. */
const openAt = (prefix: string, retention: Retention) =>
  openRedisJournal({
    ...retention,
    url: redis.url,
    prefix,
    sync: 'os',
    now: () => Date.now(),
  });

/** What each journal was opened with, to be opened again. */
const opened = new WeakMap<Journal, [prefix: string, retention: Retention]>();

testContract({
  async open(retention) {
    const prefix = `journal-${++journals}`;
    const journal = await openAt(prefix, retention);
    opened.set(journal, [prefix, retention]);
    return journal;
  },
  openSecond: (journal) => openAt(...(opened.get(journal) as [string, Retention])),
  overhead: REDIS_OVERHEAD,
  setClock,
});

/** A journal that several open. */
const openShared = (prefix: string, retention: Partial<Retention> = {}) =>
  openRedisJournal({ ...KEEP_ALL, ...retention, url: redis.url, prefix, sync: 'os' });

test('followers that come while two nodes append are each told all after their place, once and in order', async () => {
  const nodes = [await openShared('followed'), await openShared('followed')] as const;
  let isOver = false;
  const publishing = nodes.map(async (node, n) => {
    for (let m = 0; !isOver; m++) await node.append([update(`${n}/${m}`), update(`${n}/${m}b`)]);
  });
  const [start] = await nodes[0].append([update('start')]);
  const heard: { readonly after: string; readonly told: Entry[]; readonly lost: string[] }[] = [];
  for (let n = 0; n < 40; n++) {
    const told: Entry[] = [];
    const lost: string[] = [];
    const places = heard[n - 1]?.told ?? [];
    const after = n % 3 === 0 ? undefined : (places.at(-n)?.position ?? start?.position);
    const following = await nodes[n % 2 === 0 ? 0 : 1].follow(
      { entries: (entries) => told.push(...entries), lost: (through) => lost.push(through) },
      after,
    );
    heard.push({ after: following.after, told, lost });
    await nodes[0].append([update(`round ${n}`)]);
  }
  isOver = true;
  await Promise.all(publishing);
  const [end] = await nodes[1].append([update('end')]);
  for (const { after, told, lost } of heard) {
    await until(async () => told.at(-1)?.position === end?.position);
    expect(lost).toEqual([]);
    expect(told).toEqual(await readAll(nodes[0], { after }));
  }
  await Promise.all(nodes.map((node) => node.close()));
});
