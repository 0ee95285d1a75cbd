/** How an entry is stored: its position is the key, all else the value. */

import type { Entry, Position } from './journal.js';

/** A position as a key: LMDB orders it as its numbers. */
export type Place = [epoch: number, sequence: number];

/** An entry as a value; its place is its key. */
export type StoredEntry = [
  appendedAt: number,
  topics: readonly string[],
  data: string,
  isPrivate: boolean,
  type: string | null,
  retry: number | null,
  ownId: string | null,
];

export function toStored(entry: Entry, appendedAt: number): StoredEntry {
  const { id, position, topics, data, type = null, retry = null } = entry;
  const ownId = id === position ? null : id;
  return [appendedAt, topics, data, entry.private, type, retry, ownId];
}

export function toEntry(
  place: Place,
  [, topics, data, isPrivate, type, retry, ownId]: StoredEntry,
): Entry {
  const position = toPosition(place);
  return {
    id: ownId ?? position,
    position,
    topics,
    data,
    type: type ?? undefined,
    retry: retry ?? undefined,
    private: isPrivate,
  };
}

export function toPosition([epoch, sequence]: Place): Position {
  return `${epoch}-${sequence}`;
}
