/** What the reads of keepers have in common. */

import {
  comparePositions,
  type Entry,
  type EntryRef,
  type Position,
  type ReadRange,
  type ReadResult,
  type Visibility,
} from './journal.js';

/** Each page of topics is a turn of the event loop, of about a millisecond. */
export const TOPICS_PER_PAGE = 1000;

/** The newest entry that was trimmed, and what decides who may know of its own id. */
export type LastTrimmed = EntryRef & Visibility;

/** For whoever may know of all entries. */
export const admitsAll = (_entry: Visibility): boolean => true;

/** What the reader of a range is told of what was trimmed. */
export function trimmedIn(
  { after, from }: Pick<ReadRange, 'after' | 'from'>,
  trimmed: Position | undefined,
  trimmedTransient: Position | undefined,
): Omit<ReadResult, 'entries'> {
  const isBefore = (newest: Position | undefined): boolean => {
    if (newest === undefined) return false;
    if (from !== undefined) return comparePositions(from, newest) <= 0;
    return after !== undefined && comparePositions(after, newest) < 0;
  };
  return {
    trimmed: isBefore(trimmed),
    trimmedThrough: isBefore(trimmed) ? trimmed : undefined,
    trimmedTransient: isBefore(trimmedTransient),
  };
}

/** The later of two positions. */
export function later(a: Position | undefined, b: Position): Position {
  return a !== undefined && comparePositions(a, b) > 0 ? a : b;
}

/** Takes entries as far as the range's maxima go. */
export function takeWithin(
  { maxEntries, maxLength }: Pick<ReadRange, 'maxEntries' | 'maxLength'>,
  entries: Iterable<Entry>,
): Entry[] {
  const taken: Entry[] = [];
  let length = 0;
  for (const entry of entries) {
    taken.push(entry);
    length += entry.data.length;
    if (taken.length >= maxEntries || length >= maxLength) break;
  }
  return taken;
}

/** Merges ordered sources lazily into one order, and gives what several of them have once. */
export function* mergeDistinct<T>(
  sources: readonly Iterable<T>[],
  compare: (a: T, b: T) => number,
): Generator<T> {
  const iterators = sources.map((source) => source[Symbol.iterator]());
  try {
    const heads = iterators.map((iterator) => iterator.next());
    for (;;) {
      // A look at each source: for the tens of topics of a subscription quicker than a heap.
      let least: T | undefined;
      for (const head of heads) {
        if (!head.done && (least === undefined || compare(head.value, least) < 0)) {
          least = head.value;
        }
      }
      if (least === undefined) return;
      yield least;
      for (const [index, head] of heads.entries()) {
        if (!head.done && compare(head.value, least) === 0) {
          heads[index] = (iterators[index] as Iterator<T>).next();
        }
      }
    }
  } finally {
    // Left early, as by a reader with enough: the sources may hold cursors open.
    for (const iterator of iterators) iterator.return?.();
  }
}
