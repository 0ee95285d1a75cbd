/** Which topics the entries had that were trimmed, so that only those are told of a gap who may have missed one. */

import { comparePositions, type Position, type TrimmedTopic, type Visibility } from './journal.js';
import { later } from './select.js';

/** At most so many topics, of so many UTF-16 units together, are known apart. */
export const MAX_TRIMMED_TOPICS = 10_000;
const MAX_LENGTH = 1024 * 1024;
/** So many go at once when there are too many, since finding the first of a map takes long when many have gone. */
const FORGOTTEN_AT_ONCE = 500;

/** A topic, the newest public entry of it that was trimmed, and the newest private one. */
export type TrimmedRecord = readonly [
  topic: string,
  publicThrough: Position | null,
  privateThrough: Position | null,
];

/**
 * What is to be stored of them, each in a slot of its own. A slot that has become free keeps what it had until it is
 * used again, which costs less than to empty it.
 */
export type TrimmedChanges = ReadonlyMap<number, TrimmedRecord>;

/**
 * What was trimmed: of all topics up to one position, and after that of the topics that are known here. Trimming from
 * the front moves that position. Trimming from between entries that are held adds their topics; when there are too many
 * topics, the oldest are forgotten and the position moves instead.
 */
export class TrimmedTopics {
  #through: Position | undefined;
  /** The one whose entries were trimmed last comes last. */
  readonly #byTopic = new Map<string, { readonly slot: number; readonly record: TrimmedRecord }>();
  #length = 0;
  #freeSlots: number[] = [];
  #changes = new Map<number, TrimmedRecord>();

  /** @param stored - by their slots. */
  constructor(through?: Position, stored: Iterable<readonly [number, TrimmedRecord]> = []) {
    this.#through = through;
    const isKnownApart = (record: TrimmedRecord): boolean =>
      through === undefined || comparePositions(newestOf(record), through) > 0;
    const inUse = [...stored].filter(([, record]) => isKnownApart(record));
    const oldestFirst = inUse.sort(([, a], [, b]) => comparePositions(newestOf(a), newestOf(b)));
    for (const [slot, record] of oldestFirst) this.#set(slot, record);
    const used = new Set(oldestFirst.map(([slot]) => slot));
    for (let slot = Math.max(-1, ...used); slot >= 0; slot--) {
      if (!used.has(slot)) this.#freeSlots.push(slot);
    }
  }

  /** Entries of any topic may have been trimmed up to here. */
  get through(): Position | undefined {
    return this.#through;
  }

  /** An entry was trimmed before which none is held that is not transient; or nobody knows its topics. */
  addFront(position: Position): void {
    this.#through = later(this.#through, position);
  }

  /** An entry was trimmed from between others. */
  add({ topics, private: isPrivate }: Visibility, position: Position): void {
    for (const topic of topics) {
      const known = this.#byTopic.get(topic);
      const [, publicThrough, privateThrough] = known?.record ?? [topic, null, null];
      // A copy of its own: the text may be a part of a request's body, which would be kept with it.
      const text = known?.record[0] ?? Buffer.from(topic).toString();
      const slot = known?.slot ?? this.#freeSlots.pop() ?? this.#byTopic.size;
      if (known) this.#forget(known.record);
      const record: TrimmedRecord = isPrivate
        ? [text, publicThrough, later(privateThrough ?? undefined, position)]
        : [text, later(publicThrough ?? undefined, position), privateThrough];
      this.#set(slot, record);
      this.#changes.set(slot, record);
    }
    if (this.#byTopic.size > MAX_TRIMMED_TOPICS || this.#length > MAX_LENGTH) this.#makeRoom();
  }

  /** See `Journal.trimmedTopics`. */
  after(after: Position, of?: readonly string[]): readonly TrimmedTopic[] | undefined {
    const isMissing = (newest: Position | null | undefined): boolean =>
      typeof newest === 'string' && comparePositions(after, newest) < 0;
    if (isMissing(this.#through)) return undefined;
    const found: TrimmedTopic[] = [];
    const look = ([topic, publicThrough, privateThrough]: TrimmedRecord): void => {
      if (isMissing(publicThrough)) found.push({ topic, private: false });
      if (isMissing(privateThrough)) found.push({ topic, private: true });
    };
    if (of === undefined) {
      for (const { record } of this.#byTopic.values()) look(record);
    } else {
      for (const topic of of) {
        const known = this.#byTopic.get(topic);
        if (known) look(known.record);
      }
    }
    return found;
  }

  /** What has changed since the last call. */
  takeChanges(): TrimmedChanges {
    const changes = this.#changes;
    if (changes.size > 0) this.#changes = new Map();
    return changes;
  }

  /** The changes that were taken last have not been stored. */
  putBack(changes: TrimmedChanges): void {
    this.#changes = new Map([...changes, ...this.#changes]);
  }

  #makeRoom(): void {
    let count = 0;
    for (const { slot, record } of this.#byTopic.values()) {
      const isEnough = count >= FORGOTTEN_AT_ONCE && this.#length <= MAX_LENGTH;
      if (isEnough) return;
      this.#forget(record);
      this.#freeSlots.push(slot);
      this.addFront(newestOf(record));
      count++;
    }
  }

  #set(slot: number, record: TrimmedRecord): void {
    this.#byTopic.set(record[0], { slot, record });
    this.#length += record[0].length;
  }

  #forget([topic]: TrimmedRecord): void {
    this.#byTopic.delete(topic);
    this.#length -= topic.length;
  }
}

function newestOf([, publicThrough, privateThrough]: TrimmedRecord): Position {
  const newest = publicThrough ?? privateThrough;
  return later(privateThrough ?? undefined, newest as Position);
}
