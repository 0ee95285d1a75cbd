import { setImmediate as nextTurn } from 'node:timers/promises';
import type { EventStream } from '../sse/event-stream.js';
import { Allowance } from './allowance.js';
import type { MessageList } from './message-list.js';

interface Reader {
  readonly userId: string;
  /** The version of the list that was written last. */
  version: number;
  /** It did not read when a list was due, and will have the newest one when it does. */
  isSkipped: boolean;
}

/** How long one slice of a round may take; the rest goes on in the next turn of the event loop. */
const SLICE_MS = 10;

/**
 * A round counts as at least so much work. So lists leave at once in talk between people, some 50 in a row, and
 * ten times a second under a flood of messages.
 */
const MIN_ROUND_MS = 20;

/**
 * The readers of the chat. Each list supersedes those before it, so that nothing is queued for a reader: it gets
 * the list of the moment when one is due, which is when somebody else has posted since its last one.
 *
 * This is no {@link Audience}, which sends one thing to all of its members: there would have to be one for each
 * user, since a message is not sent to its own.
 */
export class Readers {
  readonly #list: MessageList;
  readonly #readers = new Map<EventStream, Reader>();
  readonly #allowance = new Allowance();
  #state: 'idle' | 'scheduled' | 'running' = 'idle';
  /** The list has changed while a round was running. */
  #isOutdated = false;
  /** One listener for all streams. */
  readonly #onClose: (this: EventStream) => void;
  readonly #onDrain: (this: EventStream) => void;

  constructor(list: MessageList) {
    this.#list = list;
    const all = this;
    this.#onClose = function leave() {
      all.#readers.delete(this);
    };
    this.#onDrain = function resume() {
      const reader = all.#readers.get(this);
      if (reader === undefined) return;
      reader.isSkipped = false;
      all.update();
    };
  }

  /** Sends the list at once, and again when one is due, until the stream closes. */
  add(stream: EventStream, userId: string): void {
    if (!stream.writable) return; // It has closed already, and would never leave.
    this.#readers.set(stream, { userId, version: this.#list.version, isSkipped: false });
    stream.on('close', this.#onClose);
    stream.sendBytes(this.#list.frame());
  }

  /** To be called when the list has changed: whoever it is due to gets it at the end of this turn, or soon. */
  update(): void {
    if (this.#readers.size === 0) return;
    if (this.#state === 'running') this.#isOutdated = true;
    if (this.#state !== 'idle') return;
    this.#state = 'scheduled';
    // setImmediate runs after the I/O callbacks of this turn: what was posted in it comes in one list.
    const { waitMs } = this.#allowance;
    const start = () => void this.#round();
    if (waitMs === 0) setImmediate(start);
    else setTimeout(start, waitMs).unref();
  }

  async #round(): Promise<void> {
    this.#state = 'running';
    this.#isOutdated = false;
    let workMs = 0;
    let sliceStart = performance.now();
    for (const [stream, reader] of this.#readers) {
      if (reader.version >= this.#list.versionFor(reader.userId)) continue;
      this.#send(stream, reader);
      const sliceMs = performance.now() - sliceStart;
      if (sliceMs < SLICE_MS) continue;
      workMs += sliceMs;
      await nextTurn();
      sliceStart = performance.now();
    }
    workMs += performance.now() - sliceStart;
    this.#allowance.spend(Math.max(workMs, MIN_ROUND_MS));
    this.#state = 'idle';
    if (this.#isOutdated) this.update();
  }

  #send(stream: EventStream, reader: Reader): void {
    if (reader.isSkipped) return;
    if (stream.stalled) {
      reader.isSkipped = true;
      stream.once('drain', this.#onDrain);
      return;
    }
    stream.sendBytes(this.#list.frame());
    reader.version = this.#list.version;
  }
}
