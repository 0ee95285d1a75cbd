import { Audience } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selection } from '../topics/selection.js';
import type { Cursor, WindowEntry } from './window.js';

/** How far a stream that stalled had been written to. */
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
  /** The newest update that it was sent. */
  #sent: Cursor | undefined;
  /** For each update that is queued and not yet written: how far its members have been written to before it. */
  readonly #queued: Written[] = [];

  constructor(selection: Selection, { onStall, onEmpty }: GroupEvents) {
    this.selection = selection;
    this.#audience = new Audience({
      onStall: (stream, firstMissed) => {
        const written = this.#queued[firstMissed] as Written;
        this.#audience.delete(stream);
        onStall(stream, written);
      },
      onFlush: (count) => {
        this.#queued.splice(0, count);
      },
      onEmpty,
    });
  }

  /** Adds a stream that has everything up to the head. It leaves by itself when it closes. */
  join(stream: EventStream): void {
    this.#audience.add(stream);
  }

  /** Sends an update to all members. `before` is the head before it. */
  send({ cursor, frame }: WindowEntry, before: Cursor): void {
    this.#queued.push({ through: before, newest: this.#sent });
    this.#sent = cursor;
    this.#audience.sendBytes(frame);
  }
}
