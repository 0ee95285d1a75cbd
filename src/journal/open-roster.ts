import { MemoryRoster } from './memory/roster.js';
import type { OnNotice } from './notice.js';
import { DEFAULT_PREFIX, isRedis } from './redis/url.js';
import type { Roster } from './roster.js';

export interface RosterOptions {
  /** What the keys in Redis start with. Default: `sse-hub`. */
  readonly prefix?: string | undefined;
  /** After so long without a sign of life a node is taken for dead. The same on all nodes. Default: 30,000. */
  readonly timeoutMs?: number;
  /** Is told what an operator should know, which may happen many times in a row. */
  readonly onNotice?: OnNotice;
}

/**
 * Opens the roster that goes with the journal that a URL names: in Redis if the journal is there, and this process's
 * own otherwise.
 *
 * @throws {JournalError} ERR_JOURNAL_OPEN.
 */
export async function openRoster(url: string, options: RosterOptions = {}): Promise<Roster> {
  if (!isRedis(url)) return new MemoryRoster();
  const { openRedisRoster } = await import('./redis/roster.js');
  const { prefix = DEFAULT_PREFIX, ...rest } = options;
  return openRedisRoster(url, { prefix, ...rest });
}
