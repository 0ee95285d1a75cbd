import { afterAll, beforeAll } from '@jest/globals';
import type { Journal, Retention } from '../src/journal/journal.js';
import { REDIS_OVERHEAD } from '../src/journal/redis/entry.js';
import { openRedisJournal } from '../src/journal/redis/redis.js';
import { setClock, testContract } from './support/journal-contract.js';
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
