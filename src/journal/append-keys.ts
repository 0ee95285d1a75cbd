/** The keys under which updates were appended, as keepers remember them. */

import {
  type AppendKey,
  type EntryRef,
  KEY_MAX_AGE_MS,
  MAX_KEYS_BYTES,
  parsePosition,
  type Update,
} from './journal.js';
import type { HeldRecord } from './memory/record-queue.js';
import { Remembered } from './remembered.js';

/** A key to remember, and where the updates stand that were appended under it. */
export interface PlacedKey extends AppendKey {
  readonly places: Places;
}

/**
 * Where the updates of a call stand: for each series of places next to each other three numbers, the epoch, the first
 * sequence and how many they are. There is one series, but for updates that were held before.
 */
export type Places = readonly number[];

/** What a key takes in memory beside its text, as measured, and each series of places of it. */
export const KEY_BYTES = 350;
export const SERIES_BYTES = 30;

const MAX_KEY_BYTES = 1024;
const MAX_DIGEST_BYTES = 64;
const MAX_PUBLISHER_BYTES = 256;

/** @returns what is wrong with a key that no journal remembers. */
export function keyError({ key, digest, publisher }: AppendKey): RangeError | undefined {
  const isKey =
    hasBytes(key, MAX_KEY_BYTES) &&
    hasBytes(digest, MAX_DIGEST_BYTES) &&
    (publisher === undefined || hasBytes(publisher, MAX_PUBLISHER_BYTES));
  if (isKey) return undefined;
  return new RangeError(
    `A key has 1 to ${MAX_KEY_BYTES} bytes, its digest 1 to ${MAX_DIGEST_BYTES}, its publisher 1 to ${MAX_PUBLISHER_BYTES}.`,
  );
}

/** The places of refs, in their order. */
export function placesOf(refs: readonly EntryRef[]): Places {
  const places: number[] = [];
  let next = { epoch: 0, sequence: 0 };
  for (const { position } of refs) {
    const [epoch, sequence] = parsePosition(position);
    const isNext = epoch === next.epoch && sequence === next.sequence;
    if (isNext) (places[places.length - 1] as number) += 1;
    else places.push(epoch, sequence, 1);
    next = { epoch, sequence: sequence + 1 };
  }
  // A copy has no room to grow, which for most is larger than the list.
  return places.slice();
}

/**
 * The refs of updates at these places. An id is the publisher's own or the position, so that ids need not be remembered.
 *
 * @returns undefined if these cannot be the updates: they are more or fewer.
 */
export function refsAt(
  places: Places,
  updates: readonly Update[],
): readonly EntryRef[] | undefined {
  const refs: EntryRef[] = [];
  for (let at = 0; at < places.length; at += SERIES_LENGTH) {
    const [epoch = 0, first = 0, count = 0] = places.slice(at, at + SERIES_LENGTH);
    if (refs.length + count > updates.length) return undefined;
    for (let n = 0; n < count; n++) {
      const position = `${epoch}-${first + n}`;
      refs.push({ id: updates[refs.length]?.id ?? position, position });
    }
  }
  return refs.length === updates.length ? refs : undefined;
}

const SERIES_LENGTH = 3;

/** The keys that a journal remembers, bounded in age and in bytes. */
export class AppendKeys {
  readonly #byKey = new Map<string, HeldRecord<PlacedKey>>();
  readonly #remembered = new Remembered<PlacedKey>({
    maxAgeMs: KEY_MAX_AGE_MS,
    maxBytes: MAX_KEYS_BYTES,
    publisherOf: ({ publisher }) => publisher,
    sizeOf,
  });

  /** What is remembered under a key, if it is not too old. */
  find(key: string, now: number): PlacedKey | undefined {
    const record = this.#byKey.get(key);
    return record && !this.#remembered.isTooOld(record, now) ? record.entry : undefined;
  }

  /**
   * Remembers a key, once {@link AppendKeys.forget} has made room.
   *
   * @param number - greater than all before.
   * @param rememberedAt - not less than of all before.
   */
  add(key: PlacedKey, number: number, rememberedAt: number): void {
    this.#byKey.set(key.key, this.#remembered.add(key, number, rememberedAt));
  }

  /**
   * Forgets keys that are too old or too many, in small steps. For what a commit adds, the next one makes room.
   *
   * @param added - the keys that the same commit adds. What was remembered under them was too old, and is forgotten.
   * @returns the numbers of those that are forgotten.
   */
  forget(now: number, added: readonly AppendKey[]): number[] {
    const numbers: number[] = [];
    for (const { key } of added) {
      const before = this.#byKey.get(key);
      if (before === undefined) continue;
      numbers.push(before.sequence);
      this.#byKey.delete(key);
      this.#remembered.remove(before);
    }
    for (const { number, item } of this.#remembered.forget(now, added.length)) {
      numbers.push(number);
      this.#byKey.delete(item.key);
    }
    return numbers;
  }
}

function sizeOf({ key, digest, publisher = '', places }: PlacedKey): number {
  const text = Buffer.byteLength(key) + Buffer.byteLength(digest) + Buffer.byteLength(publisher);
  return KEY_BYTES + text + (SERIES_BYTES * places.length) / SERIES_LENGTH;
}

function hasBytes(text: string, most: number): boolean {
  return text !== '' && Buffer.byteLength(text) <= most;
}
