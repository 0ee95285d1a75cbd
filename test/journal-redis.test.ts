import { afterAll, beforeAll } from '@jest/globals';
import type { Retention } from '../src/journal/journal.js';
import { REDIS_OVERHEAD } from '../src/journal/redis/entry.js';
import { openRedisJournal } from '../src/journal/redis/redis.js';
import { testAgeOfKeys, testAppendKeys } from './support/append-keys-contract.js';
import { testContract } from './support/journal-contract.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { testRetention } from './support/retention-contract.js';

let redis: RedisServer;
let journals = 0;

beforeAll(async () => {
  redis = await startRedis({ persistence: 'none' });
});

afterAll(() => redis.close());

/** A journal of its own. Its clock is that of this process, as the contract's tests set it. */
const open = (retention: Retention) =>
  openRedisJournal({
    ...retention,
    url: redis.url,
    prefix: `journal-${++journals}`,
    sync: 'os',
    now: () => Date.now(),
  });

testContract(open);
testRetention(open, REDIS_OVERHEAD);
testAppendKeys(open);
testAgeOfKeys(open);
