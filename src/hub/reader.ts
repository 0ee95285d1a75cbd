import {
  comparePositions,
  type Entry,
  type Journal,
  type Position,
  positionBefore,
} from '../journal/journal.js';
import type { Selection } from '../topics/selection.js';
import type { TimeSlice } from './time-slice.js';
import { type Cursor, frameOf, type Window } from './window.js';

/** What readers read: the journal, and its newest entries in memory. */
export interface Sources {
  readonly journal: Journal;
  readonly window: Window;
}

/** What a reader came upon. */
export type Step =
  /** The next updates of its selection, at most a batch of them. */
  | { readonly kind: 'frames'; readonly frames: readonly Buffer[]; readonly lastEventId: string }
  /** Updates that it should have come upon are no longer held. */
  | { readonly kind: 'gap' }
  /** Updates that are not of its selection. There may be more. */
  | { readonly kind: 'nothing' };

export const NOTHING: Step = { kind: 'nothing' };

/** One read of the journal: as much as a write to a client carries, or a little more. */
export const READ_LIMITS = { maxEntries: 512, maxLength: 64 * 1024 };

/** Reading more topics than these at once costs more than to read them all. */
const MAX_TOPICS_TO_MERGE = 64;

/**
 * Turns a cursor into the next updates of a selection, or a gap, until it is at the head. It reads the journal as
 * long as the cursor is older than the window, and then the window. It knows no stream: who wants less, or
 * nothing more, does not ask.
 */
export class Reader {
  readonly #journal: Journal;
  readonly #window: Window;
  readonly #selection: Selection;
  /** Everything up to here has been read. */
  #at:
    | { readonly in: 'window'; readonly cursor: Cursor }
    | { readonly in: 'journal'; readonly after: Position | undefined };
  /** Before the oldest update that the journal held at the start: the window may have older ones. */
  #oldest: Cursor;
  /** What the last read found to be missing has been told. */
  #isGapTold = false;
  /** Which of the journal's topics are asked for, as far as it was read up to when they were listed. */
  #journalTopics: { through: Position; topics: readonly string[] } | undefined;

  /** A reader at the head. */
  constructor({ journal, window }: Sources, selection: Selection) {
    this.#journal = journal;
    this.#window = window;
    this.#selection = selection;
    this.#at = { in: 'window', cursor: window.head };
    this.#oldest = window.start;
  }

  /** Puts the cursor after a position; before the oldest update held if that is undefined. */
  async startAfter(position: Position | undefined): Promise<void> {
    this.#oldest = await oldestHeld(this.#journal, this.#window);
    const { start } = this.#window;
    this.#at =
      position === undefined || comparePositions(position, start.position) < 0
        ? { in: 'journal', after: position }
        : { in: 'window', cursor: this.#notTrimmed(this.#window.cursorAt(position)) };
  }

  /** Moves the cursor on, to where everything has been read by other means. A cursor beyond that stays. */
  skipTo(cursor: Cursor): void {
    if (this.isBefore(cursor)) this.#at = { in: 'window', cursor };
  }

  isBefore({ ordinal }: Cursor): boolean {
    return this.#at.in === 'journal' || this.#at.cursor.ordinal < ordinal;
  }

  /** Whether there is nothing more to read. True only until the next entry is delivered: look and act in one turn. */
  get isAtHead(): boolean {
    return this.#at.in === 'window' && this.#at.cursor.ordinal === this.#window.head.ordinal;
  }

  /** Reads on. */
  async next(slice: TimeSlice): Promise<Step> {
    const at = this.#at;
    if (at.in === 'journal') return this.#readJournal(at.after, slice);
    const isHeld = at.cursor.ordinal >= this.#window.start.ordinal;
    return isHeld
      ? this.#readWindow(at.cursor, slice)
      : this.#readJournal(at.cursor.position, slice);
  }

  #readWindow({ ordinal }: Cursor, slice: TimeSlice): Step {
    const { entries, through } = this.#window.next(ordinal, this.#selection, slice);
    this.#at = { in: 'window', cursor: through };
    const last = entries.at(-1);
    if (last === undefined) return NOTHING;
    const frames = entries.map(({ frame }) => frame);
    return { kind: 'frames', frames, lastEventId: last.cursor.id };
  }

  /** Reads what is older than the window. */
  async #readJournal(after: Position | undefined, slice: TimeSlice): Promise<Step> {
    const { start } = this.#window;
    const through = start.position;
    const topics = await this.#topicsInJournal(through, slice);
    const { entries, trimmed } = await this.#journal.read({
      after,
      through,
      topics,
      ...READ_LIMITS,
    });
    if (trimmed && !this.#isGapTold) {
      this.#isGapTold = true;
      return { kind: 'gap' }; // What is left is read again.
    }
    this.#isGapTold = trimmed;
    const last = entries.at(-1);
    // At the end of the range the window goes on; its start may have moved since, and then we read again.
    this.#at =
      last === undefined || isShort(entries)
        ? { in: 'window', cursor: this.#notTrimmed(start) }
        : { in: 'journal', after: last.position };
    const admitted: Entry[] = [];
    for (const entry of entries) {
      if (slice.isOver) await slice.next();
      if (this.#selection.admits(entry)) admitted.push(entry);
    }
    const newest = admitted.at(-1);
    if (newest === undefined) return NOTHING;
    const frames = [Buffer.from(admitted.map(frameOf).join(''))];
    return { kind: 'frames', frames, lastEventId: newest.id };
  }

  #notTrimmed(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#oldest.ordinal ? this.#oldest : cursor;
  }

  /** What to ask the journal for: undefined means every topic. */
  async #topicsInJournal(
    through: Position,
    slice: TimeSlice,
  ): Promise<readonly string[] | undefined> {
    const { topics } = this.#selection;
    if (topics !== undefined) return topics === 'all' ? undefined : topics;
    if (this.#journalTopics?.through !== through) {
      const asked = await askedFor(this.#selection, this.#journal.topics(), slice);
      this.#journalTopics = { through, topics: asked };
    }
    const { topics: asked } = this.#journalTopics;
    return asked.length > MAX_TOPICS_TO_MERGE ? undefined : asked;
  }
}

/** Those of some topics that a selection asks for. */
async function askedFor(
  selection: Selection,
  topics: AsyncIterable<readonly string[]>,
  slice: TimeSlice,
): Promise<readonly string[]> {
  const asked: string[] = [];
  for await (const page of topics) {
    for (const topic of page) {
      if (slice.isOver) await slice.next();
      if (selection.asksForTopic(topic)) asked.push(topic);
    }
  }
  return asked;
}

/** Before the oldest update that the journal holds. */
export async function oldestHeld(journal: Journal, window: Window): Promise<Cursor> {
  const { oldest } = await journal.bounds();
  if (oldest === undefined) return window.head;
  return window.cursorAt(positionBefore(oldest.position));
}

/** Whether a read has ended because there was no more. */
function isShort(entries: readonly Entry[]): boolean {
  const { maxEntries, maxLength } = READ_LIMITS;
  const length = entries.reduce((sum, { data }) => sum + data.length, 0);
  return entries.length < maxEntries && length < maxLength;
}
