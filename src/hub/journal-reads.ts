import { LRUCache } from 'lru-cache';
import { type Entry, type Journal, type Position, parsePosition } from '../journal/journal.js';
import type { EntryFrames } from './entry-frames.js';
import type { Cursor, Window } from './window.js';

/** One read of the journal: as much as a write to a client carries, or a little more. */
const MAX_ENTRIES = 512;
const MAX_LENGTH = 64 * 1024;

/** How much of what was read is kept for others, in bytes, and for how long. */
const SHARED_BYTES = 16 * 1024 * 1024;
const SHARED_MS = 1_000;

/** Reads of more topics than these are not shared: telling them apart would cost more. */
const MAX_SHARED_TOPICS = 4;

/** What an entry occupies beside its text, with its frame, and each of its topics beside its characters. */
const ENTRY_OVERHEAD_BYTES = 400;
const TOPIC_OVERHEAD_BYTES = 60;

/** A part of the journal that is older than the window, for all who read there. */
export interface JournalBatch {
  /** Those that can be sent, in order. */
  readonly entries: readonly JournalEntry[];
  /** Where they end; undefined if there is nothing. */
  readonly through: Position | undefined;
  /** Entries after where it was to begin are no longer held, the newest of them here. */
  readonly missingThrough: Position | undefined;
  /** Some of its entries are damaged, and left out. */
  readonly isDamaged: boolean;
  /** Transient entries after where it was to begin are no longer held. */
  readonly isTransientMissing: boolean;
  /** Where the window began when this was read. */
  readonly start: Cursor;
  /** Whether there is no more up to there. */
  readonly isLast: boolean;
}

/** An entry with its frame, which is made when somebody wants it and the same for all. */
export class JournalEntry {
  readonly entry: Entry;
  readonly #frames: EntryFrames;
  #frame: Buffer | undefined | 'not made' = 'not made';

  constructor(entry: Entry, frames: EntryFrames) {
    this.entry = entry;
    this.#frames = frames;
  }

  /** Undefined if the entry cannot be sent. */
  get frame(): Buffer | undefined {
    if (this.#frame === 'not made') this.#frame = this.#frames.encode(this.entry);
    return this.#frame;
  }
}

/** Reads the journal for all readers: what several of them want at about the same time is read and encoded once. */
export class JournalReads {
  readonly #journal: Journal;
  readonly #window: Window;
  readonly #frames: EntryFrames;
  readonly #underWay = new Map<string, Promise<JournalBatch>>();
  readonly #recent = new LRUCache<string, JournalBatch>({
    maxSize: SHARED_BYTES,
    ttl: SHARED_MS,
    sizeCalculation: sizeOf,
  });
  #forgetting: NodeJS.Timeout | undefined;

  constructor(journal: Journal, window: Window, frames: EntryFrames) {
    this.#journal = journal;
    this.#window = window;
    this.#frames = frames;
  }

  /**
   * The next entries after a position, or from the oldest held on, up to where the window starts.
   *
   * @param topics only entries of these; undefined for all.
   */
  read(after: Position | undefined, topics: readonly string[] | undefined): Promise<JournalBatch> {
    if (topics !== undefined && topics.length > MAX_SHARED_TOPICS) return this.#read(after, topics);
    const key = JSON.stringify([after, topics]);
    const known = this.#recent.get(key);
    if (known !== undefined) return Promise.resolve(known);
    let reading = this.#underWay.get(key);
    if (reading === undefined) {
      reading = this.#readShared(key, after, topics);
      this.#underWay.set(key, reading);
    }
    return reading;
  }

  async #readShared(
    key: string,
    after: Position | undefined,
    topics: readonly string[] | undefined,
  ): Promise<JournalBatch> {
    try {
      const batch = await this.#read(after, topics);
      // What follows the last one changes with every update.
      if (!batch.isLast) this.#share(key, batch);
      return batch;
    } finally {
      this.#underWay.delete(key);
    }
  }

  #share(key: string, batch: JournalBatch): void {
    this.#recent.set(key, batch);
    this.#forgetLater();
  }

  /** What nobody asks for any more would stay: the cache itself looks at the time only when it is asked. */
  #forgetLater(): void {
    this.#forgetting ??= setTimeout(() => {
      this.#forgetting = undefined;
      this.#recent.purgeStale();
      if (this.#recent.size > 0) this.#forgetLater();
    }, SHARED_MS).unref();
  }

  async #read(
    after: Position | undefined,
    topics: readonly string[] | undefined,
  ): Promise<JournalBatch> {
    const { start } = this.#window;
    const maxEntries = topics === undefined ? toNextMark(after) : MAX_ENTRIES;
    const range = { after, through: start.position, topics, maxEntries, maxLength: MAX_LENGTH };
    const {
      entries,
      trimmedThrough,
      trimmedTransient,
      damaged = false,
    } = await this.#journal.read(range);
    const length = entries.reduce((sum, { data }) => sum + data.length, 0);
    return {
      entries: entries.map((entry) => new JournalEntry(entry, this.#frames)),
      through: entries.at(-1)?.position,
      missingThrough: trimmedThrough,
      isDamaged: damaged,
      isTransientMissing: trimmedTransient,
      start,
      isLast: entries.length < maxEntries && length < MAX_LENGTH,
    };
  }
}

/** As many entries as bring readers from different places to the same one, where they read the same from then on. */
function toNextMark(after: Position | undefined): number {
  const [, sequence] = after === undefined ? [0, 0] : parsePosition(after);
  return MAX_ENTRIES - (sequence % MAX_ENTRIES);
}

function sizeOf({ entries }: JournalBatch): number {
  return entries.reduce((sum, { entry }) => sum + sizeOfEntry(entry), 1);
}

function sizeOfEntry({ data, topics }: Entry): number {
  const ofTopics = topics.reduce((sum, { length }) => sum + 2 * length + TOPIC_OVERHEAD_BYTES, 0);
  // The text, and its frame as well.
  return 3 * data.length + ENTRY_OVERHEAD_BYTES + ofTopics;
}
