import {
  comparePositions,
  type Entry,
  type Journal,
  type Position,
  positionBefore,
} from '../journal/journal.js';
import type { Selection } from '../topics/selection.js';
import { NOTHING, oldestHeld, READ_LIMITS, type Sources, type Step } from './reader.js';
import type { TimeSlice } from './time-slice.js';
import { type Cursor, frameOf, type Window, type WindowEntry } from './window.js';

/** How many topics a client that wants the latest of each may have looked up in the journal. */
const MAX_OLDER_TOPICS = 10_000;

/**
 * Reads the newest held update of each topic of a selection, in order, up to the head of when it was made. Of
 * topics that the window does not have, as many as `MAX_OLDER_TOPICS` are looked up.
 *
 * What it holds meanwhile are the positions of those: a client may take its time.
 */
export class LatestReader {
  readonly #journal: Journal;
  readonly #window: Window;
  readonly #selection: Selection;
  readonly #head: Cursor;
  /** Before the oldest update that the journal held at the start: the window may have older ones. */
  #oldest: Cursor;
  /** Where updates stand that have left the window or never were in it, in order. */
  #older: { readonly positions: readonly Position[]; next: number } | undefined;
  /** Everything of the window up to here has been read. */
  #cursor: Cursor | undefined;
  /** The last update that was read. */
  #last: Position | undefined;

  constructor({ journal, window }: Sources, selection: Selection) {
    this.#journal = journal;
    this.#window = window;
    this.#selection = selection;
    this.#head = window.head;
    this.#oldest = window.start;
  }

  get isDone(): boolean {
    const { positions, next } = this.#older ?? { positions: [], next: 0 };
    return next === positions.length && this.#cursor?.ordinal === this.#head.ordinal;
  }

  async next(slice: TimeSlice): Promise<Step> {
    const { start } = this.#window;
    // What the window had may have left it since.
    if (this.#cursor && this.#cursor.ordinal < Math.min(start.ordinal, this.#head.ordinal)) {
      this.#older = undefined;
    }
    if (this.#older === undefined) {
      this.#oldest = await oldestHeld(this.#journal, this.#window);
      this.#older = { positions: await this.#findOlder(slice), next: 0 };
      this.#cursor = this.#upToHead(this.#window.start);
      return NOTHING;
    }
    const position = this.#older.positions[this.#older.next];
    if (position !== undefined) {
      this.#older.next += 1;
      return this.#readOlder(position);
    }
    return this.#readWindow(this.#cursor as Cursor, slice);
  }

  #readWindow(cursor: Cursor, slice: TimeSlice): Step {
    const { entries, through } = this.#window.next(cursor.ordinal, this.#selection, slice);
    this.#cursor = this.#upToHead(through);
    const latest = entries.filter((entry) => this.#isLatest(entry));
    const last = latest.at(-1);
    if (last === undefined) return NOTHING;
    this.#last = last.cursor.position;
    const frames = latest.map(({ frame }) => frame);
    return { kind: 'frames', frames, lastEventId: last.cursor.id };
  }

  #upToHead(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#head.ordinal ? cursor : this.#head;
  }

  #isLatest({ cursor, topics }: WindowEntry): boolean {
    if (cursor.ordinal <= this.#oldest.ordinal) return false;
    return topics.some(
      (topic) =>
        this.#selection.asksForTopic(topic) && this.#newestInWindow(topic)?.cursor === cursor,
    );
  }

  #newestInWindow(topic: string): WindowEntry | undefined {
    return this.#window.newest(topic, this.#oldest.ordinal, this.#head.ordinal, this.#selection);
  }

  async #readOlder(position: Position): Promise<Step> {
    const after = positionBefore(position);
    const range = { after, through: position, ...READ_LIMITS };
    const { entries } = await this.#journal.read(range);
    const entry = entries.find((each) => each.position === position);
    if (entry === undefined) return NOTHING;
    this.#last = position;
    return { kind: 'frames', frames: [Buffer.from(frameOf(entry))], lastEventId: entry.id };
  }

  async #findOlder(slice: TimeSlice): Promise<readonly Position[]> {
    const found = new Set<Position>();
    let lookedUp = 0;
    for (const topic of await this.#topics()) {
      if (slice.isOver) await slice.next();
      if (!this.#selection.asksForTopic(topic)) continue;
      if (this.#newestInWindow(topic) !== undefined) continue;
      if (lookedUp === MAX_OLDER_TOPICS) break;
      lookedUp += 1;
      const entry = await this.#newestInJournal(topic, slice);
      if (entry === undefined) continue;
      const isRead = this.#last && comparePositions(entry.position, this.#last) <= 0;
      if (!isRead) found.add(entry.position);
    }
    return [...found].sort(comparePositions);
  }

  async #topics(): Promise<readonly string[]> {
    const { topics } = this.#selection;
    if (topics !== undefined && topics !== 'all') return topics;
    const all: string[] = [];
    for await (const page of this.#journal.topics()) all.push(...page);
    return all;
  }

  async #newestInJournal(topic: string, slice: TimeSlice): Promise<Entry | undefined> {
    const through = this.#head.position;
    const [newest] = await this.#journal.newest(topic, 1);
    if (newest === undefined) return undefined;
    if (this.#selection.admits(newest) && comparePositions(newest.position, through) <= 0) {
      return newest;
    }
    // The newest is not for this client, or came after it: look for the one before, from the front.
    let found: Entry | undefined;
    let after: Position | undefined;
    for (;;) {
      const range = { after, through, topics: [topic], ...READ_LIMITS };
      const { entries } = await this.#journal.read(range);
      if (entries.length === 0) return found;
      if (slice.isOver) await slice.next();
      after = entries.at(-1)?.position;
      found = entries.findLast((entry) => this.#selection.admits(entry)) ?? found;
    }
  }
}
