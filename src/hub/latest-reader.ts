import {
  comparePositions,
  type Entry,
  type EntryRef,
  type Position,
  positionAfter,
} from '../journal/journal.js';
import { CHUNK_BYTES } from '../sse/chunks.js';
import { Admission } from '../topics/admission.js';
import type { Selection } from '../topics/selection.js';
import type { Turn } from './catch-ups.js';
import { admits, NOTHING, oldestHeld, type Sources, type Step } from './reader.js';
import type { Cursor, Window, WindowEntry } from './window.js';

/** How many topics a client that wants the latest of each may have looked up in the journal. */
const MAX_OLDER_TOPICS = 10_000;

/** How many updates of a topic are looked at to find the newest that a client may see. */
const MAX_LOOKED_AT = 10_000;
/** Of how many topics the newest is remembered. */
const MAX_KNOWN_TOPICS = 10_000;
const LOOK_AT_ONCE = 100;
/** Of how many topics the newest is looked up at once: at first, and if their updates are small. */
const FEW_TOPICS = 8;
const MANY_TOPICS = 256;
const LOOK_AT_LENGTH = 64 * 1024;

/** How many updates are read at once by their positions. */
const MAX_READ_AT_ONCE = 64;
/** How many of the window's oldest updates are read by their positions as well, since they may leave it meanwhile. */
const MAX_MARGIN = 2_000;

/** Where an update stands that is to be read, and how long it is: its data, or its frame. */
interface Found {
  readonly position: Position;
  readonly length: number;
}

interface Older {
  readonly found: readonly Found[];
  /** The first of them that has not been read. */
  next: number;
}

/**
 * Reads the newest held update of each topic of a selection, in order, up to the head of when it was made. Of
 * topics that the window does not have, as many as `MAX_OLDER_TOPICS` are looked up.
 *
 * What it holds meanwhile are the positions of those, and of the window's oldest: a client may take its time.
 */
export class LatestReader {
  readonly #sources: Sources;
  readonly #window: Window;
  readonly #selection: Selection;
  readonly #admission: Admission;
  readonly #head: Cursor;
  /** Before the oldest update that the journal held at the start: the window may have older ones. */
  #oldest: Cursor;
  /** The updates that have left the window, may soon, or never were in it, in order. */
  #older: Older | undefined;
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
    this.#admission = new Admission(selection);
    this.#head = sources.window.head;
    this.#oldest = sources.window.start;
  }

  get isDone(): boolean {
    const { found, next } = this.#older ?? { found: [], next: 0 };
    return next === found.length && this.#cursor?.ordinal === this.#head.ordinal;
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
      const from = this.#behindStart();
      this.#older = { found: await this.#findOlder(from, turn), next: 0 };
      this.#cursor = from;
      return NOTHING;
    }
    if (this.#older.next < this.#older.found.length) return this.#readOlder(this.#older, turn);
    return this.#readWindow(this.#cursor as Cursor, turn);
  }

  async #readWindow(cursor: Cursor, turn: Turn): Promise<Step> {
    const { entries, through } = this.#window.next(cursor.ordinal, this.#admission, turn);
    this.#cursor = this.#upToHead(through);
    const latest: WindowEntry[] = [];
    for (const entry of entries) if (await this.#isLatest(entry, turn)) latest.push(entry);
    const last = latest.at(-1);
    if (last === undefined) return NOTHING;
    this.#last = last.cursor.position;
    const frames = latest.map(({ frame }) => frame);
    return { kind: 'frames', frames, last: last.cursor };
  }

  #upToHead(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#head.ordinal ? cursor : this.#head;
  }

  /** Where the window is read from: behind what may leave it while the rest is looked up. */
  #behindStart(): Cursor {
    const { start } = this.#window;
    const margin = Math.min(Math.ceil((this.#head.ordinal - start.ordinal) / 2), MAX_MARGIN);
    return this.#upToHead(this.#window.entryAt(start.ordinal + margin)?.cursor ?? start);
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
      // Its topic is asked for.
      if (await admits(this.#admission, entry, turn)) return entry.cursor.ordinal;
      through = entry.cursor.ordinal - 1;
      if (turn.isOver) await turn.next();
    }
    return undefined;
  }

  async #readOlder(older: Older, turn: Turn): Promise<Step> {
    const { journal, frames: encoder } = this.#sources;
    // All at once: over a network each takes as long as all of them.
    const some = await Promise.all(
      takeSome(older).map(async ({ position }) => {
        const range = { from: position, through: position, maxEntries: 1, maxLength: 1 };
        const { entries } = await journal.read(range);
        return { position, entry: entries[0] };
      }),
    );
    const frames: Buffer[] = [];
    let bytes = 0;
    let last: EntryRef | undefined;
    for (const { position, entry } of some) {
      if (turn.isOver) await turn.next();
      const frame = entry && encoder.encode(entry);
      bytes += frame?.length ?? 0;
      if (frames.length > 0 && bytes > CHUNK_BYTES) break;
      older.next += 1;
      this.#last = position;
      if (entry === undefined || frame === undefined) continue;
      frames.push(frame);
      last = entry;
    }
    return last === undefined ? NOTHING : { kind: 'frames', frames, last };
  }

  /** Finds the newest of each topic of which the window has nothing after a cursor. */
  async #findOlder(from: Cursor, turn: Turn): Promise<readonly Found[]> {
    const found = new Map<Position, Found>();
    const note = (each: Found): void => {
      const isRead = this.#last && comparePositions(each.position, this.#last) <= 0;
      if (!isRead) found.set(each.position, each);
    };
    let left = MAX_OLDER_TOPICS;
    let atOnce = FEW_TOPICS;
    for await (const page of this.#topics()) {
      const wanted = await this.#notInWindow(page, from, note, turn);
      while (wanted.length > 0) {
        if (left === 0) return inOrder(found.values());
        if (turn.isOver) await turn.next();
        const topics = wanted.splice(0, Math.min(atOnce, left));
        left -= topics.length;
        const length = await this.#newestOfEach(topics, note, turn);
        // What is read at once is held in memory: many topics only as long as their updates are small.
        atOnce = length > LOOK_AT_LENGTH ? FEW_TOPICS : Math.min(2 * atOnce, MANY_TOPICS);
      }
    }
    return inOrder(found.values());
  }

  /** The topics that this client asks for, and of which the window has no update that it may see. */
  async #notInWindow(
    topics: readonly string[],
    from: Cursor,
    note: (found: Found) => void,
    turn: Turn,
  ): Promise<string[]> {
    const wanted: string[] = [];
    for (const topic of topics) {
      if (turn.isOver) await turn.next();
      if (!this.#selection.asksForTopic(topic)) continue;
      const newest = await this.#newestInWindow(topic, turn);
      if (newest !== undefined && newest > from.ordinal) continue;
      const entry = newest === undefined ? undefined : this.#window.entryAt(newest);
      if (entry === undefined) wanted.push(topic);
      else note({ position: entry.cursor.position, length: entry.frame.length });
    }
    return wanted;
  }

  /** The topics of the journal that may be asked for, in pages. */
  async *#topics(): AsyncGenerator<readonly string[]> {
    const { topics } = this.#selection;
    if (topics !== undefined && topics !== 'all') yield topics;
    else for await (const page of this.#sources.topics.list()) yield page.topics;
  }

  /** Notes the newest update of each of these topics that this client may see. Returns how much data was read at first. */
  async #newestOfEach(
    topics: readonly string[],
    note: (found: Found) => void,
    turn: Turn,
  ): Promise<number> {
    const before = positionAfter(this.#head.position);
    // As a rule it is the first.
    const lists = await this.#sources.journal.newest(topics, { count: 1, before });
    let length = 0;
    for (const [index, [newest]] of lists.entries()) {
      if (turn.isOver) await turn.next();
      if (newest === undefined) continue;
      length += newest.data.length;
      const entry = (await admits(this.#admission, newest, turn))
        ? newest
        : await this.#newestBefore(newest, topics[index] as string, turn);
      if (entry) note({ position: entry.position, length: entry.data.length });
    }
    return length;
  }

  /** Looks backwards for an update that this client may see. */
  async #newestBefore({ position }: Entry, topic: string, turn: Turn): Promise<Entry | undefined> {
    const maxLength = LOOK_AT_LENGTH;
    let before = position;
    for (let lookedAt = 1; lookedAt < MAX_LOOKED_AT; lookedAt += LOOK_AT_ONCE) {
      const options = { count: LOOK_AT_ONCE, before, maxLength };
      const [entries = []] = await this.#sources.journal.newest([topic], options);
      for (const entry of entries.toReversed()) {
        if (turn.isOver) await turn.next();
        if (await admits(this.#admission, entry, turn)) return entry;
        before = entry.position;
      }
      if (entries.length === 0) return undefined;
    }
    return undefined;
  }
}

/** As many of them as are read and written at once: little, or one. */
function takeSome({ found, next }: Older): readonly Found[] {
  let end = next;
  for (let length = 0; end < found.length && end - next < MAX_READ_AT_ONCE; end += 1) {
    length += (found[end] as Found).length;
    if (end > next && length > CHUNK_BYTES) break;
  }
  return found.slice(next, end);
}

function inOrder(found: Iterable<Found>): readonly Found[] {
  return [...found].sort((a, b) => comparePositions(a.position, b.position));
}
