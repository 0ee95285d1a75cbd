import {
  comparePositions,
  type Entry,
  type Journal,
  type Position,
  positionBefore,
} from '../journal/journal.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selection } from '../topics/selection.js';
import { TimeSlice } from './time-slice.js';
import { BEGINNING, type Cursor, frameOf, type Window, type WindowEntry } from './window.js';

/** Where a subscription starts to read, as `Hub.locate` found it. */
export interface Start {
  /** After this position; from the oldest update held if undefined. */
  readonly after: Position | undefined;
  /** What `Last-Event-ID` the client gave, if that could not be read on from, and why. */
  readonly gap?: { readonly lastEventID: string; readonly reason: GapReason } | undefined;
  /** What the response's `Last-Event-ID` says: the id just before the first event, or `earliest`. */
  readonly lastEventID: string;
}

/**
 * Why updates are missing: the journal held them once (`trimmed`), or the id that the client gave is none of
 * this journal's (`unknown`), so that nobody can tell what is missing.
 */
export type GapReason = 'trimmed' | 'unknown';

/** Older than all that this process has followed: the ordinal of a cursor that reads the journal. */
const BEFORE_WINDOW = -1;

/** One read of the journal: as much as a write to a client carries, or a little more. */
const READ_LIMITS = { maxEntries: 512, maxLength: 64 * 1024 };

/** Reading more topics than these at once costs more than to read them all. */
const MAX_TOPICS_TO_MERGE = 64;

/** How many topics a client that wants the latest of each may have looked up in the journal. */
const MAX_OLDER_TOPICS = 10_000;

/**
 * A client's cursor over the journal. It catches up, from the journal as long as it is older than the window
 * and then from the window, and is live when there is no more: the same whether it replays after
 * `Last-Event-ID` or was too slow for a while.
 */
export class Subscription {
  readonly stream: EventStream;
  readonly selection: Selection;
  /** Who this is, for the log: the address, and the token's subject if it has one. */
  readonly identity: string;
  /** Everything up to here has been written, or was not for this client; while it is live, where it joined. */
  #cursor:
    | Cursor
    | { readonly ordinal: typeof BEFORE_WINDOW; readonly position: Position | undefined };
  readonly #journal: Journal;
  readonly #window: Window;
  /** The last id that the client has been sent or has given. */
  #lastEventId: string;
  /** Before the oldest update that the journal held at the start: the window may have older ones. */
  #oldest: Cursor;
  /** Which of the journal's topics are asked for, as far as it was read up to when they were listed. */
  #journalTopics: { through: Position; topics: readonly string[] } | undefined;

  constructor(
    parts: { journal: Journal; window: Window },
    stream: EventStream,
    selection: Selection,
    identity: string,
  ) {
    this.#journal = parts.journal;
    this.#window = parts.window;
    this.stream = stream;
    this.selection = selection;
    this.identity = identity;
    this.#cursor = parts.window.head;
    this.#oldest = parts.window.start;
    this.#lastEventId = stream.lastEventId;
  }

  /** Puts the cursor where a client wants to read on, and tells it first what it has missed. */
  async startAt({ after, gap }: Start): Promise<void> {
    this.#oldest = await this.#oldestHeld();
    const { start } = this.#window;
    this.#cursor =
      after === undefined || comparePositions(after, start.position) < 0
        ? { ordinal: BEFORE_WINDOW, position: after }
        : this.#notTrimmed(this.#window.cursorAt(after));
    if (gap) await this.#sendGap(gap.lastEventID, gap.reason);
  }

  /**
   * Starts with what comes from now on. The client is sent where that is, as an id without data, which
   * dispatches nothing: should it be lost before its first update, it has an id to come back with. It is the
   * position, since an own id may be the secret of a private update.
   */
  startAtHead(): void {
    const { position } = this.#window.head;
    this.#lastEventId = position === BEGINNING ? 'earliest' : position;
    this.stream.send({ id: this.#lastEventId });
  }

  /**
   * Sends the newest held update of each topic, in order, and reads on from the head of when it was called. Of
   * topics that the window does not have, as many as `MAX_OLDER_TOPICS` are looked up.
   */
  async startWithLatest(): Promise<void> {
    const { head } = this.#window;
    this.#cursor = head;
    this.#oldest = await this.#oldestHeld();
    const slice = new TimeSlice();
    /** Undefined is one to be read again when it is sent: many of them would be much to hold. */
    const found = new Map<Position, WindowEntry | undefined>();
    let older = 0;
    for (const topic of await this.#existingTopics(slice)) {
      if (!this.stream.writable) return;
      if (slice.isOver) await slice.next();
      const { ordinal } = this.#oldest;
      const inWindow = this.#window.newest(topic, ordinal, head.ordinal, this.selection);
      if (inWindow !== undefined) {
        found.set(inWindow.cursor.position, inWindow);
      } else if (older < MAX_OLDER_TOPICS) {
        older += 1;
        const entry = await this.#newestInJournal(topic, head.position, slice);
        if (entry !== undefined) found.set(entry.position, undefined);
      }
    }
    for (const [position, entry] of [...found].sort(([a], [b]) => comparePositions(a, b))) {
      if (slice.isOver) await slice.next();
      if (entry !== undefined) this.#send(entry.frame, entry.cursor.id);
      else await this.#sendFromJournal(position);
      if (this.stream.stalled) await this.#drained();
    }
  }

  /**
   * Reads on until there is no more, as fast as the client does.
   *
   * @param live called when the cursor is at the head, in the same turn in which it was found to be: what
   *   is followed from then on is the caller's to send.
   */
  async catchUp(live: () => void): Promise<void> {
    const slice = new TimeSlice();
    while (this.stream.writable) {
      if (this.stream.stalled) {
        await this.#drained();
      } else if (slice.isOver) {
        await slice.next();
      } else if (this.#cursor.ordinal < this.#window.start.ordinal) {
        await this.#readJournal(slice);
      } else if (!this.#readWindow(slice)) {
        live();
        return;
      }
    }
  }

  /**
   * It was live, and is no longer: it has been written what came up to a cursor, or up to where it joined if
   * that was later.
   *
   * @param sent the newest update that those who were live had been sent by then.
   */
  fallBehind(after: Cursor, sent: Cursor | undefined): void {
    if (sent && sent.ordinal > this.#cursor.ordinal) this.#lastEventId = sent.id as string;
    if (after.ordinal > this.#cursor.ordinal) this.#cursor = after;
  }

  /** Sends a batch of the window. Returns whether the cursor has moved: if not, it is at the head. */
  #readWindow(slice: TimeSlice): boolean {
    if (this.#cursor.ordinal === this.#window.head.ordinal) return false;
    const { entries, through } = this.#window.next(this.#cursor.ordinal, this.selection, slice);
    this.#cursor = through;
    const last = entries.at(-1);
    if (last !== undefined) {
      this.#send(Buffer.concat(entries.map(({ frame }) => frame)), last.cursor.id);
    }
    return true;
  }

  /** Sends a batch of what is older than the window. */
  async #readJournal(slice: TimeSlice): Promise<void> {
    const { start } = this.#window;
    const through = start.position;
    const topics = await this.#topicsInJournal(through, slice);
    const { entries, trimmed } = await this.#journal.read({
      after: this.#cursor.position,
      through,
      topics,
      ...READ_LIMITS,
    });
    if (trimmed) await this.#sendGap(this.#lastEventId, 'trimmed');
    const last = entries.at(-1);
    // At the end of the range the window goes on; its start may have moved since, and then we read again.
    this.#cursor =
      last === undefined || isShort(entries)
        ? this.#notTrimmed(start)
        : { ordinal: BEFORE_WINDOW, position: last.position };
    const admitted: Entry[] = [];
    for (const entry of entries) {
      if (slice.isOver) await slice.next();
      if (this.selection.admits(entry)) admitted.push(entry);
    }
    const newest = admitted.at(-1);
    if (newest !== undefined) this.#send(admitted.map(frameOf).join(''), newest.id);
  }

  #send(frames: string | Buffer, lastId: string): void {
    this.#lastEventId = lastId;
    this.stream.sendBytes(frames);
  }

  async #sendFromJournal(position: Position): Promise<void> {
    const after = positionBefore(position);
    const { entries } = await this.#journal.read({ after, through: position, ...READ_LIMITS });
    const entry = entries.find((each) => each.position === position);
    if (entry !== undefined) this.#send(frameOf(entry), entry.id);
  }

  async #oldestHeld(): Promise<Cursor> {
    const { oldest } = await this.#journal.bounds();
    if (oldest === undefined) return this.#window.head;
    return this.#window.cursorAt(positionBefore(oldest.position));
  }

  #notTrimmed(cursor: Cursor): Cursor {
    return cursor.ordinal < this.#oldest.ordinal ? this.#oldest : cursor;
  }

  /** What to ask the journal for: undefined means every topic. */
  async #topicsInJournal(
    through: Position,
    slice: TimeSlice,
  ): Promise<readonly string[] | undefined> {
    const { topics } = this.selection;
    if (topics !== undefined) return topics === 'all' ? undefined : topics;
    if (this.#journalTopics?.through !== through) {
      const asked = await this.#askedFor(await this.#journal.topics(), slice);
      this.#journalTopics = { through, topics: asked };
    }
    const { topics: asked } = this.#journalTopics;
    return asked.length > MAX_TOPICS_TO_MERGE ? undefined : asked;
  }

  /** The topics that were asked for and have updates. */
  async #existingTopics(slice: TimeSlice): Promise<Iterable<string>> {
    const { topics } = this.selection;
    if (topics !== undefined && topics !== 'all') return topics;
    const found = new Set(await this.#askedFor(await this.#journal.topics(), slice));
    for (const topic of await this.#askedFor(this.#window.topics(), slice)) found.add(topic);
    return found;
  }

  async #askedFor(topics: Iterable<string>, slice: TimeSlice): Promise<readonly string[]> {
    const asked: string[] = [];
    for (const topic of topics) {
      if (slice.isOver) await slice.next();
      if (this.selection.asksForTopic(topic)) asked.push(topic);
    }
    return asked;
  }

  async #newestInJournal(
    topic: string,
    through: Position,
    slice: TimeSlice,
  ): Promise<Entry | undefined> {
    const [newest] = await this.#journal.newest(topic, 1);
    if (newest === undefined) return undefined;
    if (this.selection.admits(newest) && comparePositions(newest.position, through) <= 0) {
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
      found = entries.findLast((entry) => this.selection.admits(entry)) ?? found;
    }
  }

  async #sendGap(lastEventID: string, reason: GapReason): Promise<void> {
    const { oldest } = await this.#journal.bounds();
    // The position, as in `startAtHead`: the oldest update may be a private one with an id of its own.
    const data = JSON.stringify({ lastEventID, oldest: oldest?.position ?? null, reason });
    this.stream.send({ event: 'gap', data });
  }

  #drained(): Promise<void> {
    const { stream } = this;
    return new Promise((resolve) => {
      const done = () => {
        stream.off('drain', done).off('close', done);
        resolve();
      };
      stream.on('drain', done).on('close', done);
      if (!stream.stalled || stream.closed) done();
    });
  }
}

/** Whether a read has ended because there was no more. */
function isShort(entries: readonly Entry[]): boolean {
  const { maxEntries, maxLength } = READ_LIMITS;
  const length = entries.reduce((sum, { data }) => sum + data.length, 0);
  return entries.length < maxEntries && length < maxLength;
}
