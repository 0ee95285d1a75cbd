import type { Database, RootDatabase } from 'lmdb';
import type { EntryRef, Position } from '../journal.js';
import { FACTS, FORMAT, FORMAT_2 } from './check.js';
import { encodeEntry, type Place, type StoredEntry, stampOf, toEntry } from './entry.js';
import type { Databases } from './files.js';
import { Ledger, toStoredState } from './ledger.js';

/** The format in which own ids had one place each, and nothing was summed up. */
const FORMAT_1 = 'koa-sse-hub journal 1';

/** Whether journals of a format can be made ones of this. */
export function canUpgrade(format: unknown): boolean {
  return format === FORMAT_1 || format === FORMAT_2;
}

/** Makes a journal of an older format one of this format, in one transaction: whoever is killed in it leaves it as it was. */
export function upgrade(root: RootDatabase, databases: Databases, format: unknown): void {
  if (format === FORMAT_1) upgradeFrom1(root, databases);
  // All that it has is as it is here. Only that no topic has ended yet.
  else databases.facts.putSync('format', FORMAT);
}

/** Reads every entry once and writes it with a checksum, which takes some seconds for each million. */
function upgradeFrom1(root: RootDatabase, databases: Databases): void {
  const { entries, ids, facts } = databases;
  const oldEntries = root.openDB<StoredEntry, Place>({ name: 'entries' });
  const oldFacts = root.openDB<unknown, string>({ name: FACTS });
  // It is emptied and not dropped, so that all is one transaction.
  const oldIds = root.openDB<Place, Buffer>({
    name: 'ids',
    keyEncoding: 'binary',
    encoding: 'ordered-binary',
  });
  root.transactionSync(() => {
    const now = Date.now();
    const clock = { time: now, wall: now, highWall: now, highTime: now };
    const sums = new Ledger(databases, { maxUpdates: Number.MAX_SAFE_INTEGER, maxAgeMs: 0 });
    let after: Place | undefined;
    for (;;) {
      const page: { key: Place; value: StoredEntry }[] = [...pageOf(oldEntries, after)];
      if (page.length === 0) break;
      after = page.at(-1)?.key;
      const change = sums.prepare(
        page.map(({ key, value }) => toEntry(key, value)),
        clock,
        0,
      );
      sums.write(change);
      sums.settle(change);
      for (const { key, value } of page) {
        const [, ...rest] = value;
        // The clock was ahead then, and would hold up the trimming of all that came later.
        entries.put(key, encodeEntry(key, [Math.min(stampOf(value), now), ...rest]));
        const { id, position } = toEntry(key, value);
        if (id !== position) ids.put(Buffer.from(id), key);
      }
    }
    const trimmed = oldFacts.get('trimmed') as EntryRef | undefined;
    databases.ledger.put(
      ['state'],
      toStoredState({
        ...sums.state,
        clock,
        trimmed: trimmed && withoutOwnId(trimmed),
        trimmedFront: trimmed?.position,
      }),
    );
    for (const name of ['trimmed', 'pinged']) facts.remove(name);
    oldIds.clearSync();
    facts.put('format', FORMAT);
  });
}

const PAGE = 1000;

function pageOf(entries: Database<StoredEntry, Place>, after: Place | undefined) {
  const start: { start?: Place } = after === undefined ? {} : { start: [after[0], after[1] + 1] };
  return entries.getRange({ ...start, limit: PAGE });
}

/** Format 1 did not keep who may know of it. */
function withoutOwnId({ position }: { position: Position }) {
  return { id: position, position, topics: [], private: true };
}
