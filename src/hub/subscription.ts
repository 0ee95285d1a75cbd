import { BEGINNING, comparePositions, type EntryRef, type Position } from '../journal/journal.js';
import { inChunks } from '../sse/chunks.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selection } from '../topics/selection.js';
import { type CatchUps, ClientGone, type Turn } from './catch-ups.js';
import { endInTurn } from './end-in-turn.js';
import type { Written } from './group.js';
import type { KnownEndings, LastUpdate } from './known-endings.js';
import { LatestReader } from './latest-reader.js';
import { NOTHING, Reader, type Sources, type Step } from './reader.js';
import { SelectionEnd } from './selection-end.js';
import type { Cursor } from './window.js';

/** Where a subscription starts to read, as `Hub.locate` found it. */
export interface Start {
  /** After this position; from the oldest update held if undefined. */
  readonly after: Position | undefined;
  /** What `Last-Event-ID` the client gave, if that could not be read on from, and why. */
  readonly gap?: Gap | undefined;
  /** What the response's `Last-Event-ID` says: the id just before the first event, or `earliest`. */
  readonly lastEventID: string;
}

/** Updates that a client asked for and does not get. */
export interface Gap {
  /** The id after which they are missing. */
  readonly lastEventID: string;
  /** Why they are missing. */
  readonly reason: GapReason;
}

/**
 * Why updates are missing: the journal held them once (`trimmed`), or the id that the client gave is none of
 * this journal's (`unknown`), so that nobody can tell what is missing. Or the journal's file is damaged (`damaged`),
 * or this client gets none of before its stream was opened (`withheld`).
 */
export type GapReason = 'trimmed' | 'unknown' | 'damaged' | 'withheld';

/** What all subscriptions have been sent while they were not live, and told. */
export interface SubscriptionCounts {
  deliveries: number;
  bytes: number;
  readonly gaps: Record<GapReason, number>;
}

/** What a subscription does with its stream. */
export interface SubscriptionParts extends Sources {
  readonly catchUps: CatchUps;
  readonly endings: KnownEndings;
  readonly counts: SubscriptionCounts;
  /** Resolves with whether the window has come up to a position: false if that takes too long, or the stream closes. */
  reached(position: Position, stream: EventStream): Promise<boolean>;
  /** Makes the stream live. Its cursor is at the head: what is delivered from now on is for the hub to send. */
  join(subscription: Subscription): void;
}

interface Pumped {
  readonly isDone: boolean;
  next(turn: Turn): Promise<Step>;
}

/**
 * Pumps what a reader comes upon into a client's stream, as fast as the client reads, until there is no more; then
 * the stream is live, or, if all its topics have ended, ends. The same whether the client replays after `Last-Event-ID`
 * or was too slow for a while. It ends with its stream.
 */
export class Subscription {
  readonly stream: EventStream;
  readonly selection: Selection;
  /** Who this is, for the log: the address, and the token's subject if it has one. */
  readonly identity: string;
  readonly #parts: SubscriptionParts;
  /** Where it has become live; undefined as long as it is not. A reader is there only while it catches up. */
  #liveSince: Cursor | undefined;
  /** The last id that the client has been sent or has given, and up to where it has everything by that. */
  #last: EntryRef;

  constructor(
    parts: SubscriptionParts,
    stream: EventStream,
    selection: Selection,
    identity: string,
  ) {
    this.#parts = parts;
    this.stream = stream;
    this.selection = selection;
    this.identity = identity;
    this.#last = { id: stream.lastEventId, position: BEGINNING };
  }

  /**
   * Starts where a client wants to read on, and tells it first what it has missed. A client may have had more, from
   * another process, than this one has followed. Put at the head it would get that again; so it waits. If it waits in
   * vain its stream ends, and it comes back with the id that it has.
   */
  async startAt({ after, gap }: Start): Promise<void> {
    if (after !== undefined && !(await this.#parts.reached(after, this.stream))) {
      this.stream.end();
      return;
    }
    if (after !== undefined) this.#last = { id: this.#last.id, position: after };
    const reader = new Reader(this.#parts, this.selection);
    await reader.startAfter(after);
    if (gap) await this.#sendGap(gap);
    await this.#catchUp(reader);
  }

  /**
   * Starts with what comes from now on; the stream is live when this returns. The client is sent where that is, as
   * an id without data, which dispatches nothing: should it be lost before its first update, it has an id to come
   * back with. It is the position, since an own id may be the secret of a private update.
   *
   * If all topics have ended, nothing comes from now on. Then it starts with all that is held, unless that is withheld.
   *
   * @param gap told first, of a client whose own cursor is not read on from.
   * @returns undefined if the stream is live; otherwise when it is, or its work is done.
   */
  startNow(isPastWithheld: boolean, gap?: Gap): Promise<void> | undefined {
    const { endings } = this.#parts;
    const end = new SelectionEnd(endings, this.selection);
    if (end.look() !== undefined) {
      return isPastWithheld ? this.#startAtHead(gap) : this.#startUnlessOver(end);
    }
    // If it turns out that all has ended, the client is to come back without an id, and get what is held.
    if (endings.isComplete || isPastWithheld || !end.isPossible) this.#sendHead(gap);
    this.#join();
    return undefined;
  }

  /**
   * Where a live client began that has no id to come back with. It was not told, as its topics might have turned out to
   * have ended.
   */
  get untoldStart(): Cursor | undefined {
    return this.#last.id === '' ? this.#liveSince : undefined;
  }

  /** Tells a client where it began: it has been sent nothing since. */
  tellStart(start: Cursor): void {
    this.#sendHead(undefined, start);
  }

  /** Starts with the newest held update of each topic, and goes on with what comes after this call. */
  async startWithLatest(gap?: Gap): Promise<void> {
    const { head } = this.#parts.window;
    const reader = new Reader(this.#parts, this.selection);
    const latest = new LatestReader(this.#parts, this.selection);
    const end = new SelectionEnd(this.#parts.endings, this.selection);
    // With the head's id, a client that is cut off now would come back to an end, without what it came for.
    if (end.look() !== undefined && (await this.#isOver(end))) this.#tellGap(gap);
    else this.#sendHead(gap, head);
    await this.#pump(latest);
    await this.#catchUp(reader);
  }

  async #startAtHead(gap: Gap | undefined): Promise<void> {
    this.#sendHead(gap);
    await this.#catchUp(new Reader(this.#parts, this.selection));
  }

  /** Starts with what comes after this call, unless all has ended. Nothing is sent before that is known. */
  async #startUnlessOver(end: SelectionEnd): Promise<void> {
    const { head } = this.#parts.window;
    const reader = new Reader(this.#parts, this.selection);
    if (await this.#isOver(end)) {
      await this.startAt({ after: undefined, lastEventID: 'earliest' });
      return;
    }
    this.#sendHead(undefined, head);
    await this.#catchUp(reader);
  }

  /** Finds out whether all has ended. That may have changed when this resolves. */
  async #isOver(end: SelectionEnd): Promise<boolean> {
    let isOver = false;
    await this.#pump(untilKnown(end), () => {
      isOver = end.look() !== undefined;
    });
    return isOver;
  }

  /** A live client stopped reading. Goes on from the last update that was written to it, and is live again after that. */
  async fallBehind({ through, newest }: Written): Promise<void> {
    const since = this.#liveSince ?? through;
    this.#liveSince = undefined;
    // What was written before it joined was not written to it.
    if (newest && since.ordinal < newest.ordinal) this.#note(newest as EntryRef);
    const from = since.ordinal < through.ordinal ? through : since;
    await this.#catchUp(new Reader(this.#parts, this.selection, from));
  }

  /** Reads on until there is no more, and then the stream is live, or ends if all has ended. */
  async #catchUp(reader: Reader): Promise<void> {
    const end = new SelectionEnd(this.#parts.endings, this.selection);
    await this.#pump(inTurn(reader, untilKnown(end)), () => {
      const last = end.look();
      if (last === undefined) this.#join();
      else this.#end(last as LastUpdate);
    });
  }

  /** Ends the stream. Its client is to come back with an id at the last update or after it. */
  #end({ position }: LastUpdate): void {
    if (comparePositions(this.#last.position, position) < 0) this.stream.send({ id: position });
    endInTurn(this.stream);
  }

  #join(): void {
    this.#liveSince = this.#parts.window.head;
    this.#parts.join(this);
  }

  /**
   * Sends what a reader comes upon, as long as its client is there.
   *
   * @param whenDone called in the very turn in which the reader was found to be done: nothing runs in between.
   */
  async #pump(reader: Pumped, whenDone: () => void = () => undefined): Promise<void> {
    try {
      while (this.stream.writable) {
        if (this.stream.stalled) await this.#drained();
        else if (reader.isDone) return whenDone();
        else {
          const read = (turn: Turn) => reader.next(turn);
          await this.#send(await this.#parts.catchUps.take(this.stream, read));
        }
      }
    } catch (error) {
      if (!(error instanceof ClientGone)) throw error;
    }
  }

  async #send(step: Step): Promise<void> {
    if (step.kind === 'gap') {
      await this.#sendGap({ lastEventID: this.#last.id, reason: step.reason });
    } else if (step.kind === 'frames') {
      this.#note(step.last);
      const { counts } = this.#parts;
      counts.deliveries += step.frames.length;
      for (const { bytes, events } of inChunks(step.frames)) {
        this.stream.sendBytes(bytes, events);
        counts.bytes += bytes.length;
      }
    }
  }

  /** Entries are large: only what names them is kept. */
  #note({ id, position }: EntryRef): void {
    this.#last = { id, position };
  }

  #sendHead(gap: Gap | undefined, { position }: Cursor = this.#parts.window.head): void {
    const id = position === BEGINNING ? 'earliest' : position;
    this.#last = { id, position };
    this.stream.send({ id });
    this.#tellGap(gap);
  }

  /** Of what is not read on from. */
  #tellGap(gap: Gap | undefined): void {
    if (gap === undefined) return;
    this.#parts.counts.gaps[gap.reason] += 1;
    this.stream.send({ event: 'gap', data: JSON.stringify({ ...gap, oldest: null }) });
  }

  async #sendGap({ lastEventID, reason }: Gap): Promise<void> {
    const { oldest } = await this.#parts.journal.bounds();
    // The position, as in `#sendHead`: the oldest update may be a private one with an id of its own.
    const data = JSON.stringify({ lastEventID, oldest: oldest?.position ?? null, reason });
    this.#parts.counts.gaps[reason] += 1;
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
      if (!stream.stalled || stream.destroyed) done();
    });
  }
}

/** Finds out what is to be known of an end. */
function untilKnown(end: SelectionEnd): Pumped {
  return {
    get isDone() {
      return end.look() !== 'unknown';
    },
    async next(turn) {
      await end.find(turn);
      return NOTHING;
    },
  };
}

/** One after the other; done when both are, in one turn. */
function inTurn(first: Pumped, second: Pumped): Pumped {
  return {
    get isDone() {
      return first.isDone && second.isDone;
    },
    next: (turn) => (first.isDone ? second : first).next(turn),
  };
}
