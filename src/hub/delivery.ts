import type { Entry } from '../journal/journal.js';
import type { EventStream } from '../sse/event-stream.js';
import { TurnBudget } from '../time-slice.js';
import type { Selection } from '../topics/selection.js';
import { SelectionIndex } from '../topics/selection-index.js';
import type { EntryFrames } from './entry-frames.js';
import { FrameMemory } from './frame-memory.js';
import { Group, type Written } from './group.js';
import type { Window } from './window.js';

/**
 * The way of an update from the journal to the live subscriptions: through the window, to the groups whose
 * selection admits it. As a rule it takes it at once. What takes longer, because there are many updates, or many
 * templates that a new topic is to be compared with, is done in slices of time; the others wait behind it, in order.
 */
export class Delivery {
  readonly #window: Window;
  readonly #frames: EntryFrames;
  /** Of the frames that the window holds. */
  readonly #memory = new FrameMemory();
  readonly #onStall: (stream: EventStream, written: Written) => void;
  readonly #index = new SelectionIndex<Group>();
  readonly #groups = new Map<string, Group>();
  /** What the journal has and the window has not, behind the first `#next`, which are delivered. */
  #entries: Entry[] = [];
  #next = 0;
  /** How many have come to be delivered, and how many are. */
  #received = 0;
  #delivered = 0;
  readonly #budget = new TurnBudget();
  #scheduled: NodeJS.Immediate | undefined;
  /** Those who wait until so many are delivered, in order. */
  readonly #waiting: { readonly until: number; readonly resolve: () => void }[] = [];

  /** @param onStall told of a live stream that does not read; it has left, and is no longer delivered to. */
  constructor(
    window: Window,
    frames: EntryFrames,
    onStall: (stream: EventStream, written: Written) => void,
  ) {
    this.#window = window;
    this.#frames = frames;
    this.#onStall = onStall;
  }

  /** Delivers the journal's next entries, in order and after all that came before. */
  deliver(entries: readonly Entry[]): void {
    for (const entry of entries) this.#entries.push(entry);
    this.#received += entries.length;
    if (this.#scheduled === undefined) this.#deliverSome();
  }

  /** Resolves when all is delivered that has come until now. */
  delivered(): Promise<void> {
    if (this.#delivered === this.#received) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ until: this.#received, resolve }));
  }

  /** Delivers no more. */
  close(): void {
    clearImmediate(this.#scheduled);
    this.#entries = [];
    this.#next = 0;
    this.#delivered = this.#received;
    this.#tellWaiting();
  }

  #deliverSome(): void {
    this.#scheduled = undefined;
    while (this.#next < this.#entries.length) {
      if (this.#budget.isOver || !this.#deliverOne(this.#entries[this.#next] as Entry)) {
        this.#scheduled = setImmediate(() => this.#deliverSome());
        break;
      }
      this.#next += 1;
      this.#delivered += 1;
    }
    // Moving what is left once half is gone costs a constant for each.
    if (this.#next * 2 >= this.#entries.length) {
      this.#entries = this.#entries.slice(this.#next);
      this.#next = 0;
    }
    this.#tellWaiting();
  }

  #tellWaiting(): void {
    const first = this.#waiting.findIndex(({ until }) => until > this.#delivered);
    const done = this.#waiting.splice(0, first === -1 ? this.#waiting.length : first);
    for (const { resolve } of done) resolve();
  }

  /** Returns whether it is delivered: if not, the time is over, and it is to be tried again. */
  #deliverOne(entry: Entry): boolean {
    const groups = this.#index.matching(entry, this.#budget);
    if (groups === undefined) return false;
    const frame = this.#frames.encode(entry, this.#memory);
    if (frame === undefined) return true;
    // From here on in one turn: a client that found itself at the head before joins before, or has it to read.
    const before = this.#window.head;
    const update = this.#window.add(entry, frame);
    for (const group of groups) group.send(update, before);
    return true;
  }

  /** Makes a stream live that has everything up to the window's head: what is delivered from now on is sent to it. */
  join(stream: EventStream, selection: Selection): void {
    if (!stream.writable) return; // It would never leave its group.
    this.#groupOf(selection).join(stream);
  }

  #groupOf(selection: Selection): Group {
    const existing = this.#groups.get(selection.key);
    if (existing !== undefined) return existing;
    const group = new Group(selection, {
      onStall: this.#onStall,
      onEmpty: () => {
        this.#groups.delete(selection.key);
        this.#index.delete(group);
      },
    });
    this.#groups.set(selection.key, group);
    this.#index.add(group);
    return group;
  }
}
