import { comparePositions, type Entry, type Position } from '../journal/journal.js';
import { encodeFrame } from '../sse/frame.js';
import type { Selection } from '../topics/selection.js';
import type { TimeSlice } from './time-slice.js';

/** An entry as clients get it: its frame, encoded once for all of them, and what decides who they are. */
export interface WindowEntry {
  readonly cursor: Cursor & { readonly id: string };
  readonly topics: readonly string[];
  readonly private: boolean;
  readonly frame: Buffer;
}

/** How far somebody has read: everything up to this entry. */
export interface Cursor {
  /** Counts the entries that this process has followed, from 1. */
  readonly ordinal: number;
  readonly position: Position;
  /** Of the entry; undefined if it was there before this process, which has not read it. */
  readonly id: string | undefined;
}

/** Before every position of any journal. */
export const BEGINNING: Position = '0-0';

/** What an entry occupies beside its frame, and each of its topics beside its characters. */
const ENTRY_OVERHEAD_BYTES = 300;
const TOPIC_OVERHEAD_BYTES = 100;

/** A batch is one write, cut when it has this many bytes: enough to fill a socket, little to hold. */
const BATCH_BYTES = 64 * 1024;

/** How many entries of one topic a batch looks at: more than fit in it, as a rule. */
const BATCH_ENTRIES_PER_TOPIC = 512;

/**
 * The most recent updates, in memory, indexed by topic. Bounded in bytes: the oldest leave first, and
 * whoever still needs them reads the journal.
 */
export class Window {
  readonly #maxBytes: number;
  #bytes = 0;
  /** Entries in order. Those before `#first` have left; the array is cut when they are half of it. */
  #entries: WindowEntry[] = [];
  #first = 0;
  readonly #byTopic = new Map<string, OrdinalList>();
  #start: Cursor;
  #head: Cursor;

  /** @param start the journal's newest position at this moment; every entry after it is to be added. */
  constructor(maxBytes: number, start = BEGINNING) {
    this.#maxBytes = maxBytes;
    this.#start = { ordinal: 0, position: start, id: undefined };
    this.#head = this.#start;
  }

  /** Every entry after this one is here. */
  get start(): Cursor {
    return this.#start;
  }

  /** The newest entry. */
  get head(): Cursor {
    return this.#head;
  }

  /** Adds the journal's next entry; returns it with its frame. */
  add(added: Entry): WindowEntry {
    const { id, position, topics, private: isPrivate } = added;
    const entry: WindowEntry = {
      cursor: { ordinal: this.#head.ordinal + 1, position, id },
      topics,
      private: isPrivate,
      frame: Buffer.from(frameOf(added)),
    };
    this.#entries.push(entry);
    for (const topic of topics) {
      let ordinals = this.#byTopic.get(topic);
      if (ordinals === undefined) {
        ordinals = new OrdinalList();
        this.#byTopic.set(topic, ordinals);
      }
      ordinals.push(entry.cursor.ordinal);
    }
    this.#head = entry.cursor;
    this.#bytes += sizeOf(entry);
    while (this.#bytes > this.#maxBytes) this.#dropOldest();
    return entry;
  }

  /** A cursor at a position: at the window's start if it is before that. */
  cursorAt(position: Position): Cursor {
    let low = this.#first;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle] as WindowEntry;
      if (comparePositions(entry.cursor.position, position) <= 0) low = middle + 1;
      else high = middle;
    }
    return low === this.#first ? this.#start : (this.#entries[low - 1] as WindowEntry).cursor;
  }

  /**
   * The next entries of a selection after an ordinal, at most a batch of them or what is found in the slice,
   * and how far they reach: to the head if there are no more. The ordinal is not before the window's start.
   *
   * Entries of known topics are looked up. A template is tried on every entry: on those that a client missed,
   * that is, which as a rule are fewer than the topics there are.
   */
  next(
    after: number,
    selection: Selection,
    slice: TimeSlice,
  ): { entries: WindowEntry[]; through: Cursor } {
    const { topics } = selection;
    const candidates =
      topics === 'all' || topics === undefined
        ? this.#consecutive(after)
        : this.#ofTopics(topics, after);
    const entries: WindowEntry[] = [];
    let bytes = 0;
    for (const ordinal of candidates.ordinals) {
      const entry = this.#at(ordinal);
      if (selection.admits(entry)) {
        entries.push(entry);
        bytes += entry.frame.length;
      }
      if (bytes >= BATCH_BYTES || slice.isOver) return { entries, through: entry.cursor };
    }
    return { entries, through: candidates.through };
  }

  /** The topics of the entries held; those that come while it is being iterated too. */
  topics(): IterableIterator<string> {
    return this.#byTopic.keys();
  }

  /** The newest entry of a topic that a selection admits, after one ordinal and up to another. */
  newest(
    topic: string,
    after: number,
    through: number,
    selection: Selection,
  ): WindowEntry | undefined {
    const ordinal = this.#byTopic
      .get(topic)
      ?.findLast((each) => each > after && each <= through && selection.admits(this.#at(each)));
    return ordinal === undefined ? undefined : this.#at(ordinal);
  }

  #at(ordinal: number): WindowEntry {
    return this.#entries[this.#first + ordinal - this.#start.ordinal - 1] as WindowEntry;
  }

  #consecutive(after: number): Candidates {
    const last = Math.min(this.#head.ordinal, after + BATCH_ENTRIES_PER_TOPIC);
    const ordinals = Array.from({ length: last - after }, (_, n) => after + 1 + n);
    return { ordinals, through: last === this.#head.ordinal ? this.#head : this.#at(last).cursor };
  }

  /** Merges the topics' lists. A list that is longer than a batch bounds how far the batch reaches. */
  #ofTopics(topics: readonly string[], after: number): Candidates {
    let reach = this.#head.ordinal;
    const lists: number[][] = [];
    for (const topic of topics) {
      const list = this.#byTopic.get(topic)?.after(after, BATCH_ENTRIES_PER_TOPIC);
      if (list === undefined || list.length === 0) continue;
      if (list.length === BATCH_ENTRIES_PER_TOPIC) reach = Math.min(reach, list.at(-1) as number);
      lists.push(list);
    }
    const through = reach === this.#head.ordinal ? this.#head : this.#at(reach).cursor;
    if (lists.length === 1) return { ordinals: lists[0] as number[], through };
    const merged = new Set(lists.flat().filter((ordinal) => ordinal <= reach));
    return { ordinals: [...merged].sort((a, b) => a - b), through };
  }

  #dropOldest(): void {
    const oldest = this.#entries[this.#first] as WindowEntry;
    this.#start = oldest.cursor;
    this.#bytes -= sizeOf(oldest);
    for (const topic of oldest.topics) {
      const ordinals = this.#byTopic.get(topic) as OrdinalList;
      ordinals.shift();
      if (ordinals.length === 0) this.#byTopic.delete(topic);
    }
    this.#first += 1;
    if (this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }
}

/** An update as its subscribers receive it. */
export function frameOf({ id, type, data, retry }: Entry): string {
  return encodeFrame({ id, event: type, data, retry });
}

interface Candidates {
  readonly ordinals: readonly number[];
  /** What lies between the last ordinal and this is not of the topics. */
  readonly through: Cursor;
}

/** Ascending numbers that grow at the end and are taken from the front, both in constant time on average. */
class OrdinalList {
  #ordinals: number[] = [];
  #first = 0;

  get length(): number {
    return this.#ordinals.length - this.#first;
  }

  push(ordinal: number): void {
    this.#ordinals.push(ordinal);
  }

  shift(): void {
    this.#first += 1;
    if (this.#first * 2 > this.#ordinals.length) {
      this.#ordinals = this.#ordinals.slice(this.#first);
      this.#first = 0;
    }
  }

  /** The first `count` numbers that are greater. */
  after(ordinal: number, count: number): number[] {
    let low = this.#first;
    let high = this.#ordinals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ordinals[middle] as number) <= ordinal) low = middle + 1;
      else high = middle;
    }
    return this.#ordinals.slice(low, low + count);
  }

  findLast(test: (ordinal: number) => boolean): number | undefined {
    for (let index = this.#ordinals.length - 1; index >= this.#first; index -= 1) {
      const ordinal = this.#ordinals[index] as number;
      if (test(ordinal)) return ordinal;
    }
    return undefined;
  }
}

/** A topic counts with each of its entries, though they may share it: so the bound holds whatever they are. */
function sizeOf({ frame, topics }: WindowEntry): number {
  const ofTopics = topics.reduce((sum, { length }) => sum + 2 * length + TOPIC_OVERHEAD_BYTES, 0);
  return frame.length + ENTRY_OVERHEAD_BYTES + ofTopics;
}
