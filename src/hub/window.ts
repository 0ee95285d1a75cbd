import { performance } from 'node:perf_hooks';
import { BEGINNING, comparePositions, type Entry, type Position } from '../journal/journal.js';
import { mergeDistinct } from '../journal/select.js';
import { CHUNK_BYTES } from '../sse/chunks.js';
import type { Admission } from '../topics/admission.js';
import type { Turn } from './catch-ups.js';

/** An entry as clients get it: its frame, encoded once for all of them, and what decides who they are. */
export interface WindowEntry {
  readonly cursor: Cursor & { readonly id: string };
  readonly topics: readonly string[];
  readonly private: boolean;
  readonly frame: Buffer;
  /** When it was added, in whole seconds of `performance.now()`: a small number takes no memory of its own. */
  readonly addedAt: number;
}

/** What the window holds. */
export interface WindowSize {
  /** Updates that are held. */
  readonly updates: number;
  /** Bytes that they take. */
  readonly bytes: number;
  /** Seconds since the oldest of them came; undefined if there is none. */
  readonly oldestAgeSeconds: number | undefined;
}

/** How far somebody has read: everything up to this entry. */
export interface Cursor {
  /** Counts the entries that this process has followed, and the beginnings of its window. */
  readonly ordinal: number;
  readonly position: Position;
  /** Of the entry; undefined where the window begins, of which no entry is known. */
  readonly id: string | undefined;
}

/** What an entry occupies beside its frame, and each of its topics beside its characters if no other entry has it. */
const ENTRY_OVERHEAD_BYTES = 350;
const TOPIC_OVERHEAD_BYTES = 350;

/**
 * The most recent updates, in memory, indexed by topic. Bounded in bytes: the oldest leave first, and
 * whoever still needs them reads the journal.
 */
export class Window {
  readonly #maxBytes: number;
  #bytes = 0;
  /** Entries in order. Those before `#first` have left; the array is cut when they are half of it. */
  #entries: (WindowEntry | undefined)[] = [];
  #first = 0;
  readonly #byTopic = new Map<string, TopicOrdinals>();
  #start: Cursor = { ordinal: 0, position: BEGINNING, id: undefined };
  #head: Cursor = this.#start;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** What it holds. */
  get size(): WindowSize {
    const oldest = this.#entries[this.#first];
    return {
      updates: this.#entries.length - this.#first,
      bytes: this.#bytes,
      oldestAgeSeconds: oldest && nowInSeconds() - oldest.addedAt,
    };
  }

  /** Every entry after this one is here. */
  get start(): Cursor {
    return this.#start;
  }

  /** The newest entry. */
  get head(): Cursor {
    return this.#head;
  }

  /**
   * Begins anew after a position: every entry after it is to be added, and those before are not all here. The new
   * start has an ordinal of its own, so that a cursor at the head of before is older than the window.
   */
  restart(after: Position): void {
    this.#entries = [];
    this.#first = 0;
    this.#bytes = 0;
    this.#byTopic.clear();
    this.#start = { ordinal: this.#head.ordinal + 1, position: after, id: undefined };
    this.#head = this.#start;
  }

  /** Adds the journal's next entry, with its frame. */
  add(added: Entry, frame: Buffer): WindowEntry {
    const { id, position, topics, private: isPrivate } = added;
    const entry: WindowEntry = {
      cursor: { ordinal: this.#head.ordinal + 1, position, id },
      topics,
      private: isPrivate,
      frame,
      addedAt: nowInSeconds(),
    };
    this.#entries.push(entry);
    for (const topic of topics) {
      let ordinals = this.#byTopic.get(topic);
      if (ordinals === undefined) {
        ordinals = new TopicOrdinals();
        this.#byTopic.set(topic, ordinals);
      }
      ordinals.of(isPrivate).push(entry.cursor.ordinal);
    }
    this.#head = entry.cursor;
    this.#bytes += sizeOf(entry);
    while (this.#bytes > this.#maxBytes) this.#dropOldest();
    return entry;
  }

  /** A cursor at a position: at the window's start if it is before that. */
  cursorAt(position: Position): Cursor {
    return this.#cursorWhile((held) => comparePositions(held, position) <= 0);
  }

  /** A cursor after which the entry at a position comes next, if it is here: otherwise as {@link cursorAt}. */
  cursorBefore(position: Position): Cursor {
    return this.#cursorWhile((held) => comparePositions(held, position) < 0);
  }

  /** At the last entry for whose position something holds, which does for all before it. */
  #cursorWhile(holds: (position: Position) => boolean): Cursor {
    let low = this.#first;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle] as WindowEntry;
      if (holds(entry.cursor.position)) low = middle + 1;
      else high = middle;
    }
    return low === this.#first ? this.#start : (this.#entries[low - 1] as WindowEntry).cursor;
  }

  /**
   * The next entries of a selection after an ordinal, at most a chunk of them or what is found in this turn, and how
   * far they reach: to the head if there are no more. The ordinal is not before the window's start. An entry of many
   * topics may take several calls, which reach to the one before it.
   *
   * Entries of known topics are looked up. A template is tried on every entry: on those that a client missed,
   * that is, which as a rule are fewer than the topics there are.
   */
  next(
    after: number,
    admission: Admission,
    turn: Pick<Turn, 'isOver'>,
  ): { entries: WindowEntry[]; through: Cursor } {
    const { topics } = admission.selection;
    const candidates =
      topics === 'all' || topics === undefined
        ? this.#consecutive(after)
        : this.#ofTopics(topics, after);
    const entries: WindowEntry[] = [];
    let bytes = 0;
    for (const ordinal of candidates) {
      const entry = this.#at(ordinal);
      const isAdmitted = admission.of(entry, turn);
      if (isAdmitted === undefined) return { entries, through: this.#cursorBefore(ordinal) };
      if (isAdmitted) {
        entries.push(entry);
        bytes += entry.frame.length;
      }
      if (bytes >= CHUNK_BYTES || turn.isOver) return { entries, through: entry.cursor };
    }
    return { entries, through: this.#head };
  }

  /** The newest public entry of a topic, after one ordinal and up to another. */
  newestPublic(topic: string, after: number, through: number): WindowEntry | undefined {
    const ordinal = this.#byTopic.get(topic)?.of(false).newest(through);
    return ordinal === undefined || ordinal <= after ? undefined : this.#at(ordinal);
  }

  /** The same of private entries. */
  newestPrivate(topic: string, after: number, through: number): WindowEntry | undefined {
    const ordinal = this.#byTopic.get(topic)?.of(true).newest(through);
    return ordinal === undefined || ordinal <= after ? undefined : this.#at(ordinal);
  }

  /** The entry with an ordinal; undefined if it has left. */
  entryAt(ordinal: number): WindowEntry | undefined {
    return ordinal > this.#start.ordinal ? this.#at(ordinal) : undefined;
  }

  #at(ordinal: number): WindowEntry {
    return this.#entries[this.#first + ordinal - this.#start.ordinal - 1] as WindowEntry;
  }

  #cursorBefore(ordinal: number): Cursor {
    return this.entryAt(ordinal - 1)?.cursor ?? this.#start;
  }

  *#consecutive(after: number): Generator<number> {
    for (let ordinal = after + 1; ordinal <= this.#head.ordinal; ordinal += 1) yield ordinal;
  }

  #ofTopics(topics: readonly string[], after: number): Iterable<number> {
    const lists = topics.flatMap((topic) => this.#byTopic.get(topic)?.after(after) ?? []);
    return mergeDistinct(lists, (a, b) => a - b);
  }

  #dropOldest(): void {
    const oldest = this.#entries[this.#first] as WindowEntry;
    this.#start = oldest.cursor;
    this.#bytes -= sizeOf(oldest);
    for (const topic of oldest.topics) {
      const ordinals = this.#byTopic.get(topic) as TopicOrdinals;
      ordinals.of(oldest.private).shift();
      if (ordinals.isEmpty) this.#byTopic.delete(topic);
    }
    this.#entries[this.#first] = undefined; // A large one must not stay until many small ones have come.
    this.#first += 1;
    if (this.#first * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#first);
      this.#first = 0;
    }
  }
}

/** Which entries have a topic. Private ones are apart: those who may not see them do not look at them. */
class TopicOrdinals {
  readonly #public = new OrdinalList();
  #private: OrdinalList | undefined;

  of(isPrivate: boolean): OrdinalList {
    if (!isPrivate) return this.#public;
    this.#private ??= new OrdinalList();
    return this.#private;
  }

  /** The ordinals of both that are greater, as one list each. */
  after(ordinal: number): Iterable<number>[] {
    const lists = this.#private ? [this.#public, this.#private] : [this.#public];
    return lists.map((list) => list.after(ordinal));
  }

  get isEmpty(): boolean {
    return this.#public.length === 0 && (this.#private?.length ?? 0) === 0;
  }
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

  /** The numbers that are greater. */
  *after(ordinal: number): Generator<number> {
    for (let index = this.#indexAfter(ordinal); index < this.#ordinals.length; index += 1) {
      yield this.#ordinals[index] as number;
    }
  }

  /** The greatest number up to another. */
  newest(through: number): number | undefined {
    const index = this.#indexAfter(through) - 1;
    return index < this.#first ? undefined : this.#ordinals[index];
  }

  #indexAfter(ordinal: number): number {
    let low = this.#first;
    let high = this.#ordinals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ordinals[middle] as number) <= ordinal) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function nowInSeconds(): number {
  return Math.floor(performance.now() / 1_000);
}

/** A topic counts with each of its entries, though they may share it: so the bound holds whatever they are. */
function sizeOf({ frame, topics }: WindowEntry): number {
  const ofTopics = topics.reduce((sum, { length }) => sum + 2 * length + TOPIC_OVERHEAD_BYTES, 0);
  return frame.length + ENTRY_OVERHEAD_BYTES + ofTopics;
}
