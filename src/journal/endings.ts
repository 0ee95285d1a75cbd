/** The endings of topics, as keepers remember them: which update was the last of which topics. */

import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  ENDING_MAX_AGE_MS,
  type Ending,
  type Entry,
  MAX_ENDINGS_BYTES,
  type Update,
} from './journal.js';
import type { HeldRecord } from './memory/record-queue.js';
import { Remembered } from './remembered.js';

/** What the updates of a commit do to endings. */
export interface EndingsPlan {
  /** The endings that are left at the end of the commit. */
  readonly ended: readonly Ending[];
  /** The topics that have been reopened or have ended anew: if they had ended before, they have no longer with that update. */
  readonly reopened: readonly string[];
}

/** What an ending takes in memory beside its texts, as measured, and each of its topics. See {@link MAX_ENDINGS_BYTES}. */
const ENDING_BYTES = 350;
const ENDED_TOPIC_BYTES = 120;

/** What an ending counts, but for the own id of its update. */
export function bytesOfEnding({
  topics,
  publisher = '',
}: Pick<Update, 'topics' | 'publisher'>): number {
  let bytes = ENDING_BYTES + Buffer.byteLength(publisher);
  for (const topic of topics) bytes += ENDED_TOPIC_BYTES + Buffer.byteLength(topic);
  return bytes;
}

/** What is remembered of a last update. @param ended - those of its topics that have not been reopened since. */
export function endingBy(entry: Entry, ended: readonly string[] = entry.topics): Ending {
  const { id, position, topics, private: isPrivate, publisher } = entry;
  return { ended, update: { id, position, topics, private: isPrivate, publisher } };
}

/** What the updates of a commit end and reopen, one after the other. Most do neither, and make no map. */
export class EndingsDraft {
  readonly #hasEnded: (topic: string) => boolean;
  /** With which update of this commit a topic has ended; undefined if it goes on. */
  #topics: Map<string, Entry | undefined> | undefined;
  /** What this call has changed, to take it back. */
  #undo: Undo[] | undefined;

  /** @param hasEnded - whether a topic had ended before this commit. */
  constructor(hasEnded: (topic: string) => boolean) {
    this.#hasEnded = hasEnded;
  }

  /** The updates of another call follow. */
  beginCall(): void {
    this.#undo = undefined;
  }

  /** What this call has ended and reopened, it has not. */
  takeBackCall(): void {
    for (const [topic, wasKnown, before] of this.#undo?.reverse() ?? []) {
      if (wasKnown) this.#topics?.set(topic, before);
      else this.#topics?.delete(topic);
    }
    this.#undo = undefined;
  }

  /** The ended topic for which an update is refused. */
  refusedFor({ topics, reopen }: Update): string | undefined {
    if (reopen === true) return undefined;
    for (const topic of topics) if (this.#isEnded(topic)) return topic;
    return undefined;
  }

  /** An update was appended. */
  add(entry: Entry, { reopen }: Update): void {
    if (entry.last !== true && reopen !== true) return;
    this.#topics ??= new Map();
    this.#undo ??= [];
    for (const topic of entry.topics) {
      this.#undo.push([topic, this.#topics.has(topic), this.#topics.get(topic)]);
      this.#topics.set(topic, entry.last === true ? entry : undefined);
    }
  }

  /** @param entries - those that the commit appends. */
  plan(entries: readonly Entry[]): EndingsPlan {
    const known = this.#topics;
    if (known === undefined) return NO_ENDINGS;
    const ended = entries.flatMap((entry): Ending[] => {
      if (entry.last !== true) return [];
      const own = entry.topics.filter((topic) => known.get(topic) === entry);
      return own.length === 0 ? [] : [endingBy(entry, own)];
    });
    return { ended, reopened: [...known.keys()] };
  }

  #isEnded(topic: string): boolean {
    if (this.#topics?.has(topic)) return this.#topics.get(topic) !== undefined;
    return this.#hasEnded(topic);
  }
}

type Undo = readonly [topic: string, wasKnown: boolean, before: Entry | undefined];

const NO_ENDINGS: EndingsPlan = { ended: [], reopened: [] };

/** An ending that is remembered. */
export interface RememberedEnding {
  readonly update: Ending['update'];
  /** Which of the update's topics have been reopened, by their places in its list. */
  reopened: readonly number[];
}

/** An ending to remember. */
export interface NumberedEnding extends Readonly<RememberedEnding> {
  /** Greater than those of all before. */
  readonly number: number;
  /** In milliseconds, by the journal's clock. Not less than of all before. */
  readonly rememberedAt: number;
}

/** What a commit does to the endings that are remembered. */
export interface EndingsChange {
  readonly added: readonly NumberedEnding[];
  /** The numbers of those that were forgotten. */
  readonly forgotten: readonly number[];
  readonly changed: readonly ChangedEnding[];
}

/** An ending that loses topics, since they have been reopened. */
export interface ChangedEnding {
  readonly record: HeldRecord<RememberedEnding>;
  readonly topics: ReadonlySet<string>;
  /** All that have been reopened then. */
  readonly reopened: readonly number[];
  /** It has none left. */
  readonly isOver: boolean;
}

/** The endings that a journal remembers, bounded in age and in bytes. */
export class Endings {
  readonly #byTopic = new Map<string, HeldRecord<RememberedEnding>>();
  readonly #remembered = new Remembered<RememberedEnding>({
    maxAgeMs: ENDING_MAX_AGE_MS,
    maxBytes: MAX_ENDINGS_BYTES,
    publisherOf: ({ update }) => update.publisher,
    sizeOf,
  });
  #nextNumber = 1;

  hasEnded(topic: string, now: number): boolean {
    // Of a text that is new to it, a map would make a hash first.
    if (this.#byTopic.size === 0) return false;
    const record = this.#byTopic.get(topic);
    return record !== undefined && !this.#remembered.isTooOld(record, now);
  }

  /** Whether none is remembered. */
  get isEmpty(): boolean {
    return this.#byTopic.size === 0;
  }

  /** The update that a topic has ended with, for those who count on no age. */
  lastOf(topic: string): Ending['update'] | undefined {
    return this.#byTopic.size === 0 ? undefined : this.#byTopic.get(topic)?.entry.update;
  }

  /**
   * The endings that are not too old, in pages of at most 1,000, each in a turn of its own.
   *
   * @param now - the journal's clock.
   */
  async *pages(now: () => number): AsyncGenerator<readonly Ending[]> {
    let after = 0;
    for (;;) {
      const records = this.#remembered.after(after, ENDINGS_PER_PAGE, now());
      const last = records.at(-1);
      if (last === undefined) return;
      after = last.sequence;
      yield records.map(({ entry }) => toEnding(entry));
      if (records.length < ENDINGS_PER_PAGE) return;
      await nextTurn();
    }
  }

  /**
   * Finds what a commit changes, and forgets endings that are too old or too many, in small steps. `settle` does the rest
   * when the commit has succeeded.
   */
  prepare({ ended, reopened }: EndingsPlan, now: number): EndingsChange {
    const forgotten = this.#remembered.forget(now, ended.length);
    for (const { number, item } of forgotten) {
      for (const topic of item.update.topics) {
        if (this.#byTopic.get(topic)?.sequence === number) this.#byTopic.delete(topic);
      }
    }
    if (ended.length + reopened.length + forgotten.length === 0) return NO_CHANGE;
    const added = ended.map(
      ({ ended: own, update }, n): NumberedEnding => ({
        update,
        reopened: own.length === update.topics.length ? NONE : othersThan(new Set(own), update),
        number: this.#nextNumber + n,
        rememberedAt: now,
      }),
    );
    return {
      added,
      forgotten: forgotten.map(({ number }) => number),
      changed: this.#changedBy(reopened),
    };
  }

  settle({ added, changed }: EndingsChange): void {
    for (const { record, topics, reopened, isOver } of changed) {
      for (const topic of topics) this.#byTopic.delete(topic);
      if (isOver) this.#remembered.remove(record);
      else record.entry.reopened = reopened;
    }
    for (const each of added) this.add(each);
  }

  /** Remembers an ending, of topics that have no other one. */
  add({ update, reopened, number, rememberedAt }: NumberedEnding): void {
    const record = this.#remembered.add({ update, reopened }, number, rememberedAt);
    for (const topic of toEnding(record.entry).ended) this.#byTopic.set(topic, record);
    this.#nextNumber = number + 1;
  }

  #changedBy(reopened: readonly string[]): ChangedEnding[] {
    const byRecord = new Map<HeldRecord<RememberedEnding>, Set<string>>();
    for (const topic of reopened) {
      const record = this.#byTopic.get(topic);
      if (record === undefined) continue;
      const topics = byRecord.get(record) ?? new Set();
      if (topics.size === 0) byRecord.set(record, topics);
      topics.add(topic);
    }
    return [...byRecord].map(([record, topics]) => {
      const { update } = record.entry;
      const left = new Set(toEnding(record.entry).ended.filter((topic) => !topics.has(topic)));
      return { record, topics, reopened: othersThan(left, update), isOver: left.size === 0 };
    });
  }
}

const NO_CHANGE: EndingsChange = { added: [], forgotten: [], changed: [] };
const ENDINGS_PER_PAGE = 1000;
const NONE: readonly number[] = [];

/** The places of the other topics of an update. */
function othersThan(topics: ReadonlySet<string>, update: Ending['update']): number[] {
  return update.topics.flatMap((topic, index) => (topics.has(topic) ? [] : [index]));
}

function toEnding({ update, reopened }: RememberedEnding): Ending {
  if (reopened.length === 0) return { ended: update.topics, update };
  const gone = new Set(reopened);
  return { ended: update.topics.filter((_, index) => !gone.has(index)), update };
}

function sizeOf({ update }: RememberedEnding): number {
  const { id, position } = update;
  return bytesOfEnding(update) + (id === position ? 0 : Buffer.byteLength(id));
}
