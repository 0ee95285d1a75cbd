import { type Journal, JournalError, type Retention } from './journal.js';
import { openLmdbJournal } from './lmdb.js';
import type { DamageReport } from './lmdb-damage.js';
import { openMemoryJournal } from './memory.js';

export interface JournalOptions extends Retention {
  /** When an append to `lmdb:` is durable; see {@link openLmdbJournal}. */
  readonly sync: 'disk' | 'os';
  /** Is told of updates in `lmdb:` that are damaged; see {@link openLmdbJournal}. */
  readonly onDamage?: ((report: DamageReport) => void) | undefined;
}

const DEFAULTS: JournalOptions = {
  sync: 'disk',
  maxUpdates: 1_000_000,
  maxAgeMs: 0,
  maxBytes: 1024 ** 3,
};

/**
 * Opens the journal that a URL names: `memory:`, or `lmdb:` and the path of a directory. By default it keeps
 * a million updates and 1 GiB of them, whatever their age, and an append is durable on disk.
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
  if (path !== undefined) return openLmdbJournal({ ...options, path });
  throw new JournalError(
    'ERR_JOURNAL_OPEN',
    `A journal is memory: or lmdb:PATH, like lmdb:./journal, not ${JSON.stringify(url)}.`,
  );
}
