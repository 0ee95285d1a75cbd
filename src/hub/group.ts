import { Audience, type Flushed } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import { SharedTime } from '../time-slice.js';
import type { Selection } from '../topics/selection.js';
import { endInTurn } from './end-in-turn.js';
import type { Cursor, WindowEntry } from './window.js';

/** How far a stream that has left its group had been written to. */
export interface Written {
  /** Everything up to here. */
  readonly through: Cursor;
  /** The newest update of the group among that, if there is one. */
  readonly newest: Cursor | undefined;
}

/** What becomes of a group's members. */
export interface GroupEvents {
  /** A member does not read, and has been taken out: it has missed what came after `written`. */
  onStall(stream: EventStream, written: Written): void;
  /** The group is disbanded, and a member has been taken out. */
  onLost(stream: EventStream, written: Written): void;
  /** So many updates have been written to the members. */
  onFlush(count: number, flushed: Flushed): void;
  /** The last member has left. */
  onEmpty(): void;
}

/**
 * The live subscriptions of one selection. They receive the same updates, so they are one audience. The group
 * knows which updates are queued for them and not yet written.
 */
export class Group {
  readonly selection: Selection;
  readonly #audience: Audience;
  readonly #onLost: GroupEvents['onLost'];
  /** The newest update that it was sent. */
  #sent: Cursor | undefined;
  /** For each update that is queued and not yet written: how far its members have been written to before it. */
  readonly #queued: Written[] = [];
  /** Called when what is queued has been written. */
  #whenWritten: (() => void) | undefined;
  /** Once the group is disbanded or finished: what becomes of a member that was written what is queued. */
  #release: ((stream: EventStream) => void) | undefined;

  constructor(selection: Selection, { onStall, onLost, onFlush, onEmpty }: GroupEvents) {
    this.selection = selection;
    this.#onLost = onLost;
    this.#audience = new Audience({
      onStall: (stream, firstMissed) => {
        const written = this.#queued[firstMissed] as Written;
        this.#audience.delete(stream);
        onStall(stream, written);
      },
      onFlush: (count, flushed) => {
        this.#queued.splice(0, count);
        this.#whenWritten?.();
        this.#whenWritten = undefined;
        onFlush(count, flushed);
        this.#letGoIfWritten();
      },
      onEmpty,
    });
  }

  /** Adds a stream that has everything up to the head. It leaves by itself when it closes. */
  join(stream: EventStream): void {
    this.#audience.add(stream);
  }

  /** Whether it was sent an update after this one, which may be queued still. */
  wasSentAfter({ ordinal }: Cursor): boolean {
    return this.#sent !== undefined && this.#sent.ordinal > ordinal;
  }

  /** Sends an update to all members. `before` is the head before it. */
  send({ cursor, frame }: WindowEntry, before: Cursor): void {
    this.#queued.push({ through: before, newest: this.#sent });
    this.#sent = cursor;
    this.#audience.sendBytes(frame);
  }

  /** Calls back when the update that was sent last has been written to all members; never if they have left before. */
  whenWritten(callback: () => void): void {
    this.#whenWritten = callback;
  }

  /**
   * Nothing more is sent to the group. Its members leave when they have been written what is queued, and then have
   * everything up to `head`. Their streams stay open.
   */
  disband(head: Cursor): void {
    const written = { through: head, newest: this.#sent };
    this.#release = (stream) => this.#onLost(stream, written);
    this.#letGoIfWritten();
  }

  /**
   * All that the members asked for has ended. Nothing more is sent to the group; their streams end when they have been
   * written what is queued.
   */
  finish(): void {
    this.#release = endInTurn;
    this.#letGoIfWritten();
  }

  #letGoIfWritten(): void {
    if (this.#release !== undefined && this.#queued.length === 0) void this.#letGo(this.#release);
  }

  async #letGo(release: (stream: EventStream) => void): Promise<void> {
    const slice = lettingGo.begin();
    for (const stream of this.#audience) {
      if (slice.isOver) await slice.next();
      if (this.#audience.delete(stream)) release(stream);
    }
  }
}

/** Of all groups that are disbanded or finished, which may be all at the same time. */
const lettingGo = new SharedTime();
