import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Entry } from '../journal.js';
import { encodeEntry, type Place, toStored } from './entry.js';
import type { KeyedEntry } from './front.js';

/** How long texts are encoded before others have a turn of the event loop. */
const SLICE_MS = 5;
/** With less of a slice used up, the transaction is made in the same turn, as that of all small commits is. */
const SHORT_MS = 1;

/** What the databases have of an entry. */
export interface EntryRecords {
  readonly place: Place;
  /** The keys under which its topics are found. */
  readonly topics: readonly Buffer[];
  /** The key under which it is found, if its id is its own. */
  readonly ownId: Buffer | undefined;
}

export interface AddedRecords extends EntryRecords {
  readonly value: Buffer;
}

/**
 * Encodes all that a commit adds and removes, before its transaction, which must be made within one turn of the event
 * loop. A commit may be of 20,000 topics: it has several turns for what can be done before.
 */
export class RecordEncoder {
  readonly #keyOf = keys();
  #sliceStart = performance.now();

  /** The entries that a commit adds, in order. */
  async added(
    entries: readonly Entry[],
    firstPlace: Place,
    appendedAt: number,
  ): Promise<readonly AddedRecords[]> {
    const [epoch, first] = firstPlace;
    const records: AddedRecords[] = [];
    for (const [index, entry] of entries.entries()) {
      if (this.#hasUsed(SLICE_MS)) await this.#nextSlice();
      const place: Place = [epoch, first + index];
      const value = encodeEntry(place, toStored(entry, appendedAt));
      records.push({ ...this.#recordsOf(place, entry), value });
    }
    return records;
  }

  /**
   * The entries that it removes, after those that it adds. Nobody knows the topics of a damaged one, so the indexes go on naming
   * it.
   */
  async removed(outdated: readonly KeyedEntry[]): Promise<readonly EntryRecords[]> {
    const records: EntryRecords[] = [];
    for (const { key, entry } of outdated) {
      if (this.#hasUsed(SLICE_MS)) await this.#nextSlice();
      records.push(
        entry === undefined
          ? { place: key, topics: [], ownId: undefined }
          : this.#recordsOf(key, entry),
      );
    }
    if (this.#hasUsed(SHORT_MS)) await this.#nextSlice();
    return records;
  }

  #hasUsed(milliseconds: number): boolean {
    return performance.now() - this.#sliceStart >= milliseconds;
  }

  async #nextSlice(): Promise<void> {
    await nextTurn();
    this.#sliceStart = performance.now();
  }

  #recordsOf(place: Place, { id, position, topics }: Entry): EntryRecords {
    return {
      place,
      topics: topics.map(this.#keyOf),
      ownId: id === position ? undefined : Buffer.from(id),
    };
  }
}

/** Makes texts keys, equal ones in a row once. */
function keys(): (text: string) => Buffer {
  let last: string | undefined;
  let key: Buffer = Buffer.alloc(0);
  return (text) => {
    if (text !== last) key = Buffer.from(text);
    last = text;
    return key;
  };
}
