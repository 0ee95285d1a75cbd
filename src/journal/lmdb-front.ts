/** Finds the oldest entries of an LMDB journal that are not transient. */

import type { Database } from 'lmdb';
import type { Entry } from './journal.js';
import { comparePlaces, decodeEntry, type Place, toEntry } from './lmdb-entry.js';

export interface KeyedEntry {
  readonly key: Place;
  /** Undefined if it is damaged. */
  readonly entry: Entry | undefined;
  /** What it has at least come to, if it is damaged. */
  readonly bytes?: number;
}

/** A place before which no entry is held that is not transient. */
export interface FrontPlace {
  readonly place: Place;
  /** Whether there is one at the place itself. */
  readonly isHeld: boolean;
}

/** Where the entries begin that are held and not transient, while a commit takes some of them away. */
export class Front {
  readonly #entries: Database<Buffer, Place>;
  readonly #isTaken: (key: Place) => boolean;
  #from: Place | undefined;
  /** Whether one is at `#from`, unless that is taken. */
  #isFound: boolean;
  #keys: Iterator<Place> | undefined;
  #next: Place | undefined;

  constructor(
    { entries }: { readonly entries: Database<Buffer, Place> },
    from: FrontPlace | undefined,
    isTaken: (key: Place) => boolean,
  ) {
    this.#entries = entries;
    this.#from = from?.place;
    this.#isFound = from?.isHeld ?? false;
    this.#isTaken = isTaken;
  }

  /** The oldest that is not taken. */
  oldest(): KeyedEntry | undefined {
    for (let key = this.#oldestKey(); key !== undefined; key = this.#skip()) {
      const keyed = toKeyed(key, this.#entries.get(key) as Buffer);
      if (keyed.entry?.transient) continue;
      this.#find(key);
      return keyed;
    }
    return undefined;
  }

  /** Whether an entry that is not transient and not taken is the oldest one. */
  isOldest(place: Place): boolean {
    if (this.#isFound && !this.#isTaken(this.#from as Place)) {
      return comparePlaces(place, this.#from as Place) === 0;
    }
    for (let key = this.#oldestKey(); key !== undefined; key = this.#skip()) {
      // Most often it is, and need not be read.
      const isIt = comparePlaces(place, key) === 0;
      if (!isIt && toKeyed(key, this.#entries.get(key) as Buffer).entry?.transient) continue;
      this.#find(key);
      return isIt;
    }
    return false;
  }

  /** Lets go of its cursor, and returns where it is when what was taken has gone. */
  close(): FrontPlace | undefined {
    this.#keys?.return?.();
    const place = this.#from;
    return place && { place, isHeld: this.#isFound && !this.#isTaken(place) };
  }

  #find(key: Place): void {
    this.#from = key;
    this.#isFound = true;
  }

  /** The first key that is not taken. */
  #oldestKey(): Place | undefined {
    if (this.#keys === undefined) {
      const range = this.#from === undefined ? {} : { start: this.#from };
      this.#keys = this.#entries.getKeys(range)[Symbol.iterator]();
      this.#advance();
    }
    while (this.#next !== undefined && this.#isTaken(this.#next)) this.#advance();
    return this.#next;
  }

  /** The first key after that. */
  #skip(): Place | undefined {
    this.#advance();
    return this.#oldestKey();
  }

  #advance(): void {
    const { done, value } = (this.#keys as Iterator<Place>).next();
    this.#next = done ? undefined : value;
  }
}

export function toKeyed(key: Place, value: Buffer): KeyedEntry {
  const stored = decodeEntry(key, value);
  return stored
    ? { key, entry: toEntry(key, stored) }
    : { key, entry: undefined, bytes: value.length };
}
