/** Finds the oldest entries of an LMDB journal that are not transient. */

import type { Database } from 'lmdb';
import type { Entry } from '../journal.js';
import { comparePlaces, decodeEntry, type Place, toEntry } from './entry.js';

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
  /** Whether one is at `#from`. */
  #isHeld: boolean;
  #keys: Iterator<Place> | undefined;
  #next: Place | undefined;

  constructor(
    { entries }: { readonly entries: Database<Buffer, Place> },
    from: FrontPlace | undefined,
    isTaken: (key: Place) => boolean,
  ) {
    this.#entries = entries;
    this.#from = from?.place;
    this.#isHeld = from?.isHeld ?? false;
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

  /** An entry that is not transient is about to be taken. Returns whether it is the oldest one. */
  take(place: Place): boolean {
    const isOldest = this.#isOldest(place);
    if (isOldest) {
      this.#from = place;
      this.#isHeld = false;
    }
    return isOldest;
  }

  #isOldest(place: Place): boolean {
    const from = this.#from;
    if (from && this.#isHeld) return comparePlaces(place, from) === 0;
    // Most often it is the next one, and nothing can stand between.
    if (from && place[0] === from[0] && place[1] === from[1] + 1) return true;
    for (let key = this.#oldestKey(); key !== undefined; key = this.#skip()) {
      if (comparePlaces(place, key) === 0) return true;
      if (toKeyed(key, this.#entries.get(key) as Buffer).entry?.transient) continue;
      this.#find(key);
      return false;
    }
    return false;
  }

  /** Lets go of its cursor, and returns where it is when what was taken has gone. */
  close(): FrontPlace | undefined {
    this.#keys?.return?.();
    return this.#from && { place: this.#from, isHeld: this.#isHeld };
  }

  #find(key: Place): void {
    this.#from = key;
    this.#isHeld = true;
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
