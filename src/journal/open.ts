import { type Journal, JournalError, type Retention } from './journal.js';
import type { DamageReport } from './lmdb/damage.js';
import { openMemoryJournal } from './memory/memory.js';
import type { OnNotice } from './notice.js';
import { isRedis, redact } from './redis/url.js';

/** What a journal keeps, and how; each option with a default. */
export interface JournalOptions extends Retention {
  /** When an append to `lmdb:` or to Redis is durable; see docs/operations.md. */
  readonly sync: 'disk' | 'os';
  /** Is told of updates in `lmdb:` that are damaged; see `openLmdbJournal`. */
  readonly onDamage?: ((report: DamageReport) => void) | undefined;
  /** Of a journal in Redis: what its keys begin with. Default: `sse-hub`. */
  readonly prefix?: string | undefined;
  /** Of a journal in Redis: how many replicas have what was appended before `append` resolves. Default: 0. */
  readonly replicas?: number | undefined;
  /** Is told what an operator should know of a journal in Redis: that it is away or back, or has lost updates. */
  readonly onNotice?: OnNotice | undefined;
}

const DEFAULTS: JournalOptions = {
  sync: 'disk',
  maxUpdates: 1_000_000,
  maxAgeMs: 0,
  maxBytes: 1024 ** 3,
};

/**
 * Opens the journal that a URL names: `memory:`; `lmdb:` and the path of a directory; or a Redis or Valkey that several
 * processes share, as `redis://host:port/db` and other forms that docs/operations.md lists. By default it keeps a million
 * updates and 1 GiB of them, whatever their age, and an append is durable on disk.
 *
 * Only what the journal needs is loaded: LMDB for `lmdb:`, the client of Redis for Redis.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN.
 */
export async function openJournal(
  url: string,
  given: Partial<JournalOptions> = {},
): Promise<Journal> {
  const options = { ...DEFAULTS, ...given };
  if (url === 'memory:') return openMemoryJournal(options);
  // Not `new URL`, which makes a relative path something else.
  const path = /^lmdb:(.+)$/s.exec(url)?.[1];
  if (path !== undefined) {
    const { openLmdbJournal } = await import('./lmdb/lmdb.js');
    return openLmdbJournal({ ...options, path });
  }
  if (isRedis(url)) {
    const { openRedisJournal } = await import('./redis/redis.js');
    return openRedisJournal({ ...options, url });
  }
  throw new JournalError(
    'ERR_JOURNAL_OPEN',
    `A journal is memory:, lmdb:PATH, like lmdb:./journal, or redis://HOST, not ${JSON.stringify(redact(url))}.`,
  );
}
