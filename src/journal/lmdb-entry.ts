/** How an entry is stored: its position is the key, all else the value. */

import type { Entry, Position } from './journal.js';

/** A position as a key: LMDB orders it as its numbers. */
export type Place = [epoch: number, sequence: number];

/** An entry as a value; its place is its key. What a journal of format 1 has stored lacks the last three. */
export type StoredEntry = [
  appendedAt: number,
  topics: readonly string[],
  data: string,
  isPrivate: boolean,
  type: string | null,
  retry: number | null,
  ownId: string | null,
  scope?: string | null,
  publisher?: string | null,
  isTransient?: boolean,
];

export function toStored(entry: Entry, appendedAt: number): StoredEntry {
  const { id, position, topics, data, type = null, retry = null } = entry;
  const { scope = null, publisher = null, transient = false } = entry;
  const ownId = id === position ? null : id;
  const isPrivate = entry.private;
  return [appendedAt, topics, data, isPrivate, type, retry, ownId, scope, publisher, transient];
}

export function toEntry(place: Place, stored: StoredEntry): Entry {
  const [, topics, data, isPrivate, type, retry, ownId, scope, publisher, isTransient] = stored;
  const position = toPosition(place);
  return {
    id: ownId ?? position,
    position,
    topics,
    data,
    type: type ?? undefined,
    retry: retry ?? undefined,
    private: isPrivate,
    scope: scope ?? undefined,
    publisher: publisher ?? undefined,
    transient: isTransient || undefined,
  };
}

/** When it was appended, by the journal's clock. */
export function stampOf([appendedAt]: StoredEntry): number {
  return appendedAt;
}

export function toPosition([epoch, sequence]: Place): Position {
  return `${epoch}-${sequence}`;
}
