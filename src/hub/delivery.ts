import type { Entry } from '../journal/journal.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selection } from '../topics/selection.js';
import { SelectionIndex } from '../topics/selection-index.js';
import { Group, type Written } from './group.js';
import type { Window } from './window.js';

/**
 * The way of an update from the journal to the live subscriptions: through the window, to the groups whose
 * selection admits it.
 */
export class Delivery {
  readonly #window: Window;
  readonly #onStall: (stream: EventStream, written: Written) => void;
  readonly #index = new SelectionIndex<Group>();
  readonly #groups = new Map<string, Group>();

  /** @param onStall told of a live stream that does not read; it has left, and is no longer delivered to. */
  constructor(window: Window, onStall: (stream: EventStream, written: Written) => void) {
    this.#window = window;
    this.#onStall = onStall;
  }

  /** Delivers the journal's next entries, in order. */
  deliver(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const before = this.#window.head;
      const update = this.#window.add(entry);
      for (const group of this.#index.matching(update)) group.send(update, before);
    }
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
