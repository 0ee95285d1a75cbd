/** What a journal remembers beside its entries: bounded in age and in bytes, with a share for each publisher. */

import { type HeldRecord, markTrimmed, RecordQueue } from './memory/record-queue.js';
import { Shares } from './retention.js';

/** What is remembered, and how much of it. */
export interface RememberedKind<T> {
  readonly maxAgeMs: number;
  readonly maxBytes: number;
  /** Whose share it counts to. All without a name have one share. */
  publisherOf(item: T): string | undefined;
  /** What it takes in memory, in bytes, beside {@link PUBLISHER_BYTES}. The same as long as it is remembered. */
  sizeOf(item: T): number;
}

/**
 * A publisher with more than this part of the bytes loses its own first. So a publisher with less keeps what it has, unless
 * more than 256 others flood together. With a smaller part, finding out whose are forgotten takes longer.
 */
export const REMEMBERED_SHARE = 1 / 256;

/** What a publisher takes in memory of whom something is remembered, as measured. */
export const PUBLISHER_BYTES = 250;

/** At most so many more than are added are forgotten at once, so that no append waits long for it. */
export const FORGET_STEP = 256;

/** What is remembered of a publisher, and what that counts. */
interface Owned<T> {
  readonly records: RecordQueue<T>;
  bytes: number;
}

/** What was remembered under a number. */
export interface Forgotten<T> {
  readonly number: number;
  readonly item: T;
}

/** Most commits forget nothing. */
const NOTHING: readonly never[] = [];

/** Items that are remembered, each as a record under a number. Whoever looks for them keeps an index of its own. */
export class Remembered<T> {
  readonly #kind: RememberedKind<T>;
  readonly #all = new RecordQueue<T>();
  readonly #byPublisher = new Map<string, Owned<T>>();
  #bytes = 0;
  readonly #shares: Shares;

  constructor(kind: RememberedKind<T>) {
    this.#kind = kind;
    this.#shares = new Shares({
      maxUpdates: Number.MAX_SAFE_INTEGER,
      maxBytes: kind.maxBytes,
      maxAgeMs: kind.maxAgeMs,
      publisherShare: REMEMBERED_SHARE,
    });
  }

  isTooOld({ appendedAt }: HeldRecord<T>, now: number): boolean {
    return now - appendedAt >= this.#kind.maxAgeMs;
  }

  /**
   * Remembers an item, once {@link Remembered.forget} has made room.
   *
   * @param number - greater than all before.
   * @param rememberedAt - not less than of all before.
   */
  add(item: T, number: number, rememberedAt: number): HeldRecord<T> {
    const record = { sequence: number, appendedAt: rememberedAt, entry: item };
    this.#all.push(record);
    const publisher = this.#publisherOf(item);
    const owned = this.#byPublisher.get(publisher) ?? { records: new RecordQueue(), bytes: 0 };
    if (owned.records.length === 0) {
      this.#byPublisher.set(publisher, owned);
      this.#count(publisher, owned, PUBLISHER_BYTES);
    }
    owned.records.push(record);
    this.#count(publisher, owned, this.#kind.sizeOf(item));
    return record;
  }

  /**
   * Forgets what is too old or too much, in small steps. For what a commit adds, the next one makes room.
   *
   * @param added - how many the same commit adds.
   * @returns what is forgotten.
   */
  forget(now: number, added: number): readonly Forgotten<T>[] {
    let outdated = this.#nextOutdated(now);
    if (outdated === undefined) return NOTHING;
    const forgotten: Forgotten<T>[] = [];
    const most = FORGET_STEP + added;
    for (; outdated !== undefined && forgotten.length < most; outdated = this.#nextOutdated(now)) {
      forgotten.push({ number: outdated.sequence, item: outdated.entry });
      this.remove(outdated);
    }
    return forgotten;
  }

  remove(record: HeldRecord<T>): void {
    const item = record.entry;
    const publisher = this.#publisherOf(item);
    const owned = this.#byPublisher.get(publisher) as Owned<T>;
    markTrimmed(record);
    this.#all.letGo();
    owned.records.letGo();
    this.#count(publisher, owned, -this.#kind.sizeOf(item));
    if (owned.records.length > 0) return;
    this.#byPublisher.delete(publisher);
    this.#count(publisher, owned, -PUBLISHER_BYTES);
  }

  /** Those that are not too old, of a number after this one: so many at most, in order. */
  after(number: number, count: number, now: number): HeldRecord<T>[] {
    const found: HeldRecord<T>[] = [];
    for (const record of this.#all.between(number + 1, Number.POSITIVE_INFINITY)) {
      if (found.length === count) break;
      if (!this.isTooOld(record, now)) found.push(record);
    }
    return found;
  }

  #nextOutdated(now: number): HeldRecord<T> | undefined {
    const { first } = this.#all;
    if (first === undefined || this.isTooOld(first, now)) return first;
    if (this.#bytes <= this.#kind.maxBytes) return undefined;
    const heaviest = this.#shares.heaviest('bytes');
    return heaviest === undefined ? first : this.#byPublisher.get(heaviest)?.records.first;
  }

  /** No publisher has an empty name. */
  #publisherOf(item: T): string {
    return this.#kind.publisherOf(item) ?? '';
  }

  #count(publisher: string, owned: Owned<T>, bytes: number): void {
    this.#bytes += bytes;
    owned.bytes += bytes;
    this.#shares.note(publisher, { count: 0, bytes: owned.bytes });
  }
}
