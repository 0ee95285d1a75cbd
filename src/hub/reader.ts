import {
  BEGINNING,
  comparePositions,
  type EntryRef,
  type Journal,
  type Position,
} from '../journal/journal.js';
import { later } from '../journal/select.js';
import { CHUNK_BYTES } from '../sse/chunks.js';
import { Admission } from '../topics/admission.js';
import type { Addressed, Selection } from '../topics/selection.js';
import type { Turn } from './catch-ups.js';
import type { EntryFrames } from './entry-frames.js';
import type { JournalBatch, JournalReads } from './journal-reads.js';
import type { JournalTopics } from './journal-topics.js';
import type { Cursor, Window } from './window.js';

/** What readers read: the journal, and its newest entries in memory. */
export interface Sources {
  readonly journal: Journal;
  readonly window: Window;
  readonly reads: JournalReads;
  readonly topics: JournalTopics;
  readonly frames: EntryFrames;
  /** What the topics of transient updates start with, if there are any. */
  readonly transientTopics: string | undefined;
}

/** What a reader came upon. */
export type Step =
  /** The next updates of its selection, at most a batch of them. */
  | { readonly kind: 'frames'; readonly frames: readonly Buffer[]; readonly last: EntryRef }
  /** Updates that it should have come upon are no longer held. */
  | { readonly kind: 'gap'; readonly reason: 'trimmed' | 'damaged' }
  /** Updates that are not of its selection. There may be more. */
  | { readonly kind: 'nothing' };

export const NOTHING: Step = { kind: 'nothing' };

interface AskedTopics {
  readonly through: Position;
  readonly topics: readonly string[] | undefined;
}

/** How many entries are looked at between two looks at the clock; one, where templates may be matched with each. */
const ENTRIES_PER_LOOK = 16;

/** Reading more topics than these at once costs more than to read them all. */
const MAX_TOPICS_TO_MERGE = 64;

/**
 * Turns a cursor into the next updates of a selection, or a gap, until it is at the head. It reads the journal as
 * long as the cursor is older than the window, and then the window. It knows no stream: whoever wants no more does
 * not ask.
 */
export class Reader {
  readonly #sources: Sources;
  readonly #selection: Selection;
  readonly #admission: Admission;
  /** Everything up to here has been read. */
  #at:
    | { readonly in: 'window'; readonly cursor: Cursor }
    | { readonly in: 'journal'; readonly after: Position | undefined };
  /** Before the oldest update that the journal held at the start: the window may have older ones. */
  #oldest: Cursor;
  /** What is missing up to here has been told, if it was asked for. */
  #toldThrough: Position | undefined;
  /** That entries are damaged up to here has been told. */
  #damageToldThrough: Position | undefined;
  #isTransientGapTold = false;
  /** Which topics are asked for of those that the journal has up to a position; undefined if they are too many. */
  #asked: AskedTopics | undefined;

  /** @param cursor up to which everything has been read; the head if it is not given. */
  constructor(sources: Sources, selection: Selection, cursor: Cursor = sources.window.head) {
    this.#sources = sources;
    this.#selection = selection;
    this.#admission = new Admission(selection);
    this.#at = { in: 'window', cursor };
    this.#oldest = sources.window.start;
  }

  /** Puts the cursor after a position up to which the window has come; before the oldest update held if undefined. */
  async startAfter(position: Position | undefined): Promise<void> {
    const { window } = this.#sources;
    this.#oldest = await oldestHeld(this.#sources);
    const cursor =
      position === undefined || comparePositions(position, window.start.position) < 0
        ? undefined
        : window.cursorAt(position);
    // Where some were trimmed since the client's place was found, the journal says whether it has missed any.
    this.#at =
      cursor !== undefined && cursor.ordinal >= this.#oldest.ordinal
        ? { in: 'window', cursor }
        : { in: 'journal', after: position };
  }

  /** Whether there is nothing more to read. True only until the next entry is delivered: look and act in one turn. */
  get isDone(): boolean {
    return (
      this.#at.in === 'window' && this.#at.cursor.ordinal === this.#sources.window.head.ordinal
    );
  }

  /** Reads on. */
  async next(turn: Turn): Promise<Step> {
    const at = this.#at;
    if (at.in === 'journal') return this.#readJournal(at.after, turn);
    const isHeld = at.cursor.ordinal >= this.#sources.window.start.ordinal;
    return isHeld ? this.#readWindow(at.cursor, turn) : this.#readJournal(at.cursor.position, turn);
  }

  #readWindow({ ordinal }: Cursor, turn: Turn): Step {
    const { entries, through } = this.#sources.window.next(ordinal, this.#admission, turn);
    this.#at = { in: 'window', cursor: through };
    const last = entries.at(-1);
    if (last === undefined) return NOTHING;
    const frames = entries.map(({ frame }) => frame);
    return { kind: 'frames', frames, last: last.cursor };
  }

  /** Reads what is older than the window. */
  async #readJournal(after: Position | undefined, turn: Turn): Promise<Step> {
    const topics = await this.#topicsToRead(turn);
    const whole = await this.#sources.reads.read(after, topics);
    // The window may have moved on since the topics were listed: what came after that may be of others.
    const batch = this.#asked?.topics === undefined ? whole : upTo(whole, this.#asked.through);
    const { missingThrough } = batch;
    if (missingThrough !== undefined && isBefore(this.#toldThrough, missingThrough)) {
      const isMissed = await this.#hasMissed(this.#unlessTold(after), turn);
      this.#toldThrough = missingThrough;
      if (isMissed) return { kind: 'gap', reason: 'trimmed' }; // What is left is read again.
    }
    const end = batch.through ?? batch.start.position;
    if (batch.isDamaged && isBefore(this.#damageToldThrough, end)) {
      this.#damageToldThrough = end;
      return { kind: 'gap', reason: 'damaged' };
    }
    if (batch.isTransientMissing && !this.#isTransientGapTold && this.#mayReceiveTransient()) {
      this.#isTransientGapTold = true;
      return { kind: 'gap', reason: 'trimmed' };
    }
    const frames: Buffer[] = [];
    let bytes = 0;
    let last: EntryRef | undefined;
    const { topics: asked, hasGrants } = this.#selection;
    const entriesPerLook = asked === undefined || hasGrants ? 1 : ENTRIES_PER_LOOK;
    for (const [index, each] of batch.entries.entries()) {
      if (index % entriesPerLook === 0 && turn.isOver) await turn.next();
      const { entry } = each;
      const isAdmitted = this.#admission.of(entry, turn);
      if (!(isAdmitted ?? (await admits(this.#admission, entry, turn)))) continue;
      const { frame } = each;
      if (frame === undefined) continue;
      frames.push(frame);
      bytes += frame.length;
      last = entry;
      if (bytes < CHUNK_BYTES) continue;
      this.#at = { in: 'journal', after: entry.position };
      return { kind: 'frames', frames, last };
    }
    // At the end of the range the window goes on; its start may have moved since, and then we read again.
    this.#at =
      batch.isLast || batch.through === undefined
        ? { in: 'window', cursor: this.#notTrimmed(batch.start) }
        : { in: 'journal', after: batch.through };
    return last === undefined ? NOTHING : { kind: 'frames', frames, last };
  }

  /** Whether updates that it asks for may have been trimmed after a position. */
  async #hasMissed(after: Position, turn: Turn): Promise<boolean> {
    const { topics, hasGrants } = this.#selection;
    const known = topics === 'all' ? undefined : topics;
    const trimmed = await this.#sources.journal.trimmedTopics(after, known);
    if (trimmed === undefined) return true;
    for (const { topic, private: isPrivate } of trimmed) {
      if (turn.isOver) await turn.next();
      if (isPrivate && !hasGrants) continue;
      if (this.#selection.asksForTopic(topic)) return true;
    }
    return false;
  }

  /** A position, or up to where it was told what is missing if that is later. */
  #unlessTold(after: Position | undefined): Position {
    return later(this.#toldThrough, after ?? BEGINNING);
  }

  #mayReceiveTransient(): boolean {
    const { transientTopics } = this.#sources;
    return transientTopics !== undefined && this.#selection.mayReceivePrivate(transientTopics);
  }

  #notTrimmed(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#oldest.ordinal ? this.#oldest : cursor;
  }

  /** What to ask the journal for: undefined means every topic. */
  async #topicsToRead(turn: Turn): Promise<readonly string[] | undefined> {
    const { topics } = this.#selection;
    if (topics !== undefined) return topics === 'all' ? undefined : topics;
    const { start } = this.#sources.window;
    // Topics that came after the list was made are in the window.
    if (this.#asked === undefined || isBefore(this.#asked.through, start.position)) {
      this.#asked = await this.#findAsked(turn);
    }
    return this.#asked.topics;
  }

  async #findAsked(turn: Turn): Promise<AskedTopics> {
    const asked: string[] = [];
    let through = this.#sources.window.start.position;
    for await (const page of this.#sources.topics.list()) {
      through = page.through;
      for (const topic of page.topics) {
        if (turn.isOver) await turn.next();
        if (this.#selection.asksForTopic(topic)) asked.push(topic);
      }
      if (asked.length > MAX_TOPICS_TO_MERGE) return { through, topics: undefined };
    }
    return { through, topics: asked };
  }
}

/** The part of a batch up to a position. */
function upTo(batch: JournalBatch, through: Position): JournalBatch {
  if (comparePositions(batch.start.position, through) <= 0) return batch;
  if (batch.through !== undefined && !batch.isLast && !isBefore(through, batch.through))
    return batch;
  const entries = batch.entries.filter(({ entry }) => !isBefore(through, entry.position));
  return { ...batch, entries, through, isLast: false };
}

/** Whether an update is for a selection, in as many turns as it takes to find out. */
export async function admits(
  admission: Admission,
  update: Addressed,
  turn: Turn,
): Promise<boolean> {
  for (;;) {
    const isAdmitted = admission.of(update, turn);
    if (isAdmitted !== undefined) return isAdmitted;
    await turn.next();
  }
}

/** Before the oldest update that the journal holds. */
export async function oldestHeld({ journal, window }: Sources): Promise<Cursor> {
  const { oldest } = await journal.bounds();
  if (oldest === undefined) return window.head;
  return window.cursorBefore(oldest.position);
}

function isBefore(position: Position | undefined, other: Position): boolean {
  return position === undefined || comparePositions(position, other) < 0;
}
