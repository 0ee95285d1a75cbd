import {
  comparePositions,
  type Entry,
  type Position,
  positionAfter,
  positionBefore,
} from '../journal/journal.js';
import type { Selection } from '../topics/selection.js';
import type { Turn } from './catch-ups.js';
import { NOTHING, oldestHeld, type Sources, type Step } from './reader.js';
import type { Cursor, Window, WindowEntry } from './window.js';

/** How many topics a client that wants the latest of each may have looked up in the journal. */
const MAX_OLDER_TOPICS = 10_000;

/** How many updates of a topic are looked at there to find the newest that a client may see. */
const MAX_LOOKED_AT = 10_000;
const LOOK_AT_ONCE = 100;
const LOOK_AT_LENGTH = 64 * 1024;

/**
 * Reads the newest held update of each topic of a selection, in order, up to the head of when it was made. Of
 * topics that the window does not have, as many as `MAX_OLDER_TOPICS` are looked up.
 *
 * What it holds meanwhile are the positions of those: a client may take its time.
 */
export class LatestReader {
  readonly #sources: Sources;
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

  constructor(sources: Sources, selection: Selection) {
    this.#sources = sources;
    this.#window = sources.window;
    this.#selection = selection;
    this.#head = sources.window.head;
    this.#oldest = sources.window.start;
  }

  get isDone(): boolean {
    const { positions, next } = this.#older ?? { positions: [], next: 0 };
    return next === positions.length && this.#cursor?.ordinal === this.#head.ordinal;
  }

  async next(turn: Turn): Promise<Step> {
    const { start } = this.#window;
    // What the window had may have left it since.
    if (this.#cursor && this.#cursor.ordinal < Math.min(start.ordinal, this.#head.ordinal)) {
      this.#older = undefined;
    }
    if (this.#older === undefined) {
      this.#oldest = await oldestHeld(this.#sources);
      this.#older = { positions: await this.#findOlder(turn), next: 0 };
      this.#cursor = this.#upToHead(this.#window.start);
      return NOTHING;
    }
    const position = this.#older.positions[this.#older.next];
    if (position !== undefined) {
      this.#older.next += 1;
      return this.#readOlder(position);
    }
    return this.#readWindow(this.#cursor as Cursor, turn);
  }

  #readWindow(cursor: Cursor, turn: Turn): Step {
    const { entries, through } = this.#window.next(cursor.ordinal, this.#selection, turn);
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
    const range = {
      after: positionBefore(position),
      through: position,
      maxEntries: 1,
      maxLength: 1,
    };
    const { entries } = await this.#sources.journal.read(range);
    const [entry] = entries;
    const frame = entry && this.#sources.frames.encode(entry);
    if (entry === undefined || frame === undefined) return NOTHING;
    this.#last = position;
    return { kind: 'frames', frames: [frame], lastEventId: entry.id };
  }

  async #findOlder(turn: Turn): Promise<readonly Position[]> {
    const found = new Set<Position>();
    let lookedUp = 0;
    for await (const page of this.#topics()) {
      for (const topic of page) {
        if (turn.isOver) await turn.next();
        if (!this.#selection.asksForTopic(topic)) continue;
        if (this.#newestInWindow(topic) !== undefined) continue;
        if (lookedUp === MAX_OLDER_TOPICS) return inOrder(found);
        lookedUp += 1;
        const entry = await this.#newestInJournal(topic, turn);
        if (entry === undefined) continue;
        const isRead = this.#last && comparePositions(entry.position, this.#last) <= 0;
        if (!isRead) found.add(entry.position);
      }
    }
    return inOrder(found);
  }

  /** The topics of the journal that may be asked for, in pages. */
  async *#topics(): AsyncGenerator<readonly string[]> {
    const { topics } = this.#selection;
    if (topics !== undefined && topics !== 'all') yield topics;
    else for await (const page of this.#sources.topics.list()) yield page.topics;
  }

  /** Looks backwards from the head. */
  async #newestInJournal(topic: string, turn: Turn): Promise<Entry | undefined> {
    let before = positionAfter(this.#head.position);
    let count = 1; // As a rule it is the first.
    for (let lookedAt = 0; lookedAt < MAX_LOOKED_AT; lookedAt += count) {
      if (lookedAt > 0) count = LOOK_AT_ONCE;
      const entries = await this.#sources.journal.newest(topic, count, before, LOOK_AT_LENGTH);
      if (turn.isOver) await turn.next();
      const found = entries.findLast((entry) => this.#selection.admits(entry));
      const [oldest] = entries;
      if (found !== undefined || oldest === undefined) return found;
      before = oldest.position;
    }
    return undefined;
  }
}

function inOrder(positions: Iterable<Position>): readonly Position[] {
  return [...positions].sort(comparePositions);
}
