import { afterAll, beforeAll } from '@jest/globals';
import { MemoryRoster } from '../src/journal/memory/roster.js';
import { openRedisRoster } from '../src/journal/redis/roster.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { rosterContract } from './support/roster-contract.js';

let redis: RedisServer;
let opened = 0;

beforeAll(async () => {
  redis = await startRedis({ persistence: 'none' });
});
afterAll(() => redis.close());

rosterContract('of one process', async () => new MemoryRoster());

rosterContract('in Redis', () => {
  opened += 1;
  return openRedisRoster(redis.url, { prefix: `roster-${opened}` });
});
