/** The keys under which updates were appended, as keepers remember them. */

import {
  type AppendKey,
  type EntryRef,
  KEY_MAX_AGE_MS,
  MAX_KEYS_BYTES,
  parsePosition,
  type Update,
} from './journal.js';
import { type HeldRecord, markTrimmed, RecordQueue } from './memory/record-queue.js';
import { Shares } from './retention.js';

/** A key to remember, and where the updates stand that were appended under it. */
export interface PlacedKey extends AppendKey {
  readonly places: Places;
}

/**
 * Where the updates of a call stand: for each series of places next to each other three numbers, the epoch, the first
 * sequence and how many they are. There is one series, but for updates that were held before.
 */
export type Places = readonly number[];

/**
 * A publisher with more than this part of {@link MAX_KEYS_BYTES} loses its own keys first. So a publisher with fewer
 * keeps them, unless more than 256 others flood together. With a smaller part, finding out whose keys go takes longer.
 */
export const KEYS_SHARE = 1 / 256;

/** What a key takes in memory beside its text, as measured, and what a publisher takes that has any. */
const KEY_BYTES = 350;
const SERIES_BYTES = 30;
const PUBLISHER_BYTES = 250;

/** At most so many keys more than are added are forgotten at once, so that no append waits long for it. */
const FORGET_STEP = 256;

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

/** The keys of a publisher, and what they count. */
interface Owned {
  readonly records: RecordQueue<PlacedKey>;
  bytes: number;
}

/** The keys that a journal remembers, bounded in age and in bytes. */
export class AppendKeys {
  readonly #byKey = new Map<string, HeldRecord<PlacedKey>>();
  readonly #all = new RecordQueue<PlacedKey>();
  readonly #byPublisher = new Map<string, Owned>();
  #bytes = 0;
  readonly #shares = new Shares({
    maxUpdates: Number.MAX_SAFE_INTEGER,
    maxBytes: MAX_KEYS_BYTES,
    maxAgeMs: KEY_MAX_AGE_MS,
    publisherShare: KEYS_SHARE,
  });

  /** What is remembered under a key, if it is not too old. */
  find(key: string, now: number): PlacedKey | undefined {
    const record = this.#byKey.get(key);
    return record !== undefined && !isTooOld(record, now) ? record.entry : undefined;
  }

  /**
   * Remembers a key, once {@link AppendKeys.forget} has made room.
   *
   * @param number - greater than all before.
   * @param rememberedAt - not less than of all before.
   */
  add(key: PlacedKey, number: number, rememberedAt: number): void {
    const record = { sequence: number, appendedAt: rememberedAt, entry: key };
    this.#byKey.set(key.key, record);
    this.#all.push(record);
    const publisher = publisherOf(key);
    const owned = this.#byPublisher.get(publisher) ?? { records: new RecordQueue(), bytes: 0 };
    if (owned.records.length === 0) {
      this.#byPublisher.set(publisher, owned);
      this.#count(publisher, owned, PUBLISHER_BYTES);
    }
    owned.records.push(record);
    this.#count(publisher, owned, sizeOf(key));
  }

  /**
   * Forgets keys that are too old or too many, in small steps. For what a commit adds, the next one makes room.
   *
   * @param added - the keys that the same commit adds. What was remembered under them was too old, and is forgotten.
   * @returns the numbers of those that are forgotten.
   */
  forget(now: number, added: readonly AppendKey[]): number[] {
    const numbers: number[] = [];
    const remove = (record: HeldRecord<PlacedKey>): void => {
      numbers.push(record.sequence);
      this.#remove(record);
    };
    for (const { key } of added) {
      const before = this.#byKey.get(key);
      if (before !== undefined) remove(before);
    }
    const most = numbers.length + FORGET_STEP + added.length;
    while (numbers.length < most) {
      const outdated = this.#nextOutdated(now);
      if (outdated === undefined) break;
      remove(outdated);
    }
    return numbers;
  }

  #nextOutdated(now: number): HeldRecord<PlacedKey> | undefined {
    const { first } = this.#all;
    if (first === undefined || isTooOld(first, now)) return first;
    if (this.#bytes <= MAX_KEYS_BYTES) return undefined;
    const heaviest = this.#shares.heaviest('bytes');
    return heaviest === undefined ? first : this.#byPublisher.get(heaviest)?.records.first;
  }

  #remove(record: HeldRecord<PlacedKey>): void {
    const key = record.entry;
    const publisher = publisherOf(key);
    const owned = this.#byPublisher.get(publisher) as Owned;
    markTrimmed(record);
    if (this.#byKey.get(key.key) === record) this.#byKey.delete(key.key);
    this.#all.letGo();
    owned.records.letGo();
    this.#count(publisher, owned, -sizeOf(key));
    if (owned.records.length > 0) return;
    this.#byPublisher.delete(publisher);
    this.#count(publisher, owned, -PUBLISHER_BYTES);
  }

  #count(publisher: string, owned: Owned, bytes: number): void {
    this.#bytes += bytes;
    owned.bytes += bytes;
    this.#shares.note(publisher, { count: 0, bytes: owned.bytes });
  }
}

function isTooOld({ appendedAt }: HeldRecord<PlacedKey>, now: number): boolean {
  return now - appendedAt >= KEY_MAX_AGE_MS;
}

/** No publisher has an empty name. */
function publisherOf({ publisher = '' }: AppendKey): string {
  return publisher;
}

function sizeOf({ key, digest, publisher = '', places }: PlacedKey): number {
  const text = Buffer.byteLength(key) + Buffer.byteLength(digest) + Buffer.byteLength(publisher);
  return KEY_BYTES + text + (SERIES_BYTES * places.length) / SERIES_LENGTH;
}

function hasBytes(text: string, most: number): boolean {
  return text !== '' && Buffer.byteLength(text) <= most;
}
