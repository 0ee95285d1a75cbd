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

/** How many updates of a topic are looked at to find the newest that a client may see. */
const MAX_LOOKED_AT = 10_000;
/** Of how many topics the newest is remembered. */
const MAX_KNOWN_TOPICS = 10_000;
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
  /** What was found out of topics by those who may see private updates. */
  readonly #known = new Map<string, { readonly newest: number | undefined }>();
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
      this.#known.clear();
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

  async #readWindow(cursor: Cursor, turn: Turn): Promise<Step> {
    const { entries, through } = this.#window.next(cursor.ordinal, this.#selection, turn);
    this.#cursor = this.#upToHead(through);
    const latest: WindowEntry[] = [];
    for (const entry of entries) if (await this.#isLatest(entry, turn)) latest.push(entry);
    const last = latest.at(-1);
    if (last === undefined) return NOTHING;
    this.#last = last.cursor.position;
    const frames = latest.map(({ frame }) => frame);
    return { kind: 'frames', frames, lastEventId: last.cursor.id };
  }

  #upToHead(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#head.ordinal ? cursor : this.#head;
  }

  async #isLatest({ cursor, topics }: WindowEntry, turn: Turn): Promise<boolean> {
    if (cursor.ordinal <= this.#oldest.ordinal || cursor.ordinal > this.#head.ordinal) return false;
    for (const topic of topics) {
      if (!this.#selection.asksForTopic(topic)) continue;
      if ((await this.#newestInWindow(topic, turn)) === cursor.ordinal) return true;
    }
    return false;
  }

  /** The ordinal of the newest entry of a topic that this client may see. */
  async #newestInWindow(topic: string, turn: Turn): Promise<number | undefined> {
    const after = this.#oldest.ordinal;
    const newest = this.#window.newestPublic(topic, after, this.#head.ordinal)?.cursor.ordinal;
    // Those who may see no private update need not look at any.
    if (!this.#selection.hasGrants) return newest;
    const known = this.#known.get(topic);
    if (known !== undefined) return known.newest;
    const seen = (await this.#newestPrivate(topic, newest ?? after, turn)) ?? newest;
    if (this.#known.size < MAX_KNOWN_TOPICS) this.#known.set(topic, { newest: seen });
    return seen;
  }

  async #newestPrivate(topic: string, after: number, turn: Turn): Promise<number | undefined> {
    let through = this.#head.ordinal;
    for (let lookedAt = 0; lookedAt < MAX_LOOKED_AT; lookedAt += 1) {
      const entry = this.#window.newestPrivate(topic, after, through);
      if (entry === undefined) return undefined;
      if (this.#selection.maySee(entry)) return entry.cursor.ordinal;
      through = entry.cursor.ordinal - 1;
      if (turn.isOver) await turn.next();
    }
    return undefined;
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
        if ((await this.#newestInWindow(topic, turn)) !== undefined) continue;
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
      for (const entry of entries.toReversed()) {
        if (turn.isOver) await turn.next();
        if (this.#selection.admits(entry)) return entry;
        before = entry.position;
      }
      if (entries.length === 0) return undefined;
    }
    return undefined;
  }
}

function inOrder(positions: Iterable<Position>): readonly Position[] {
  return [...positions].sort(comparePositions);
}
