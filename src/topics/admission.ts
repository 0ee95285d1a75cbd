import type { Addressed, Selection } from './selection.js';
import type { Slice } from './slice.js';

/** Of an update with no more topics than these, all are looked at in one go: 3 ms with the costliest token. */
const FEW_TOPICS = 4;

const ALL_TIME: Slice = { isOver: false };

/**
 * Finds out whether updates are for a selection, in slices of time: with a hundred long topics and the costliest
 * templates one update can take 60 ms. What is known of an update is kept until it is asked for another.
 */
export class Admission {
  readonly selection: Selection;
  #update: Addressed | undefined;
  #work: Iterator<undefined, boolean> | undefined;
  #slice: Slice = ALL_TIME;

  constructor(selection: Selection) {
    this.selection = selection;
  }

  /**
   * Whether an update is for the selection; undefined when the slice is over. Then it is to be asked for the same
   * update again, with another slice. Each call makes some progress.
   */
  of(update: Addressed, slice: Slice): boolean | undefined {
    if (update.topics.length <= FEW_TOPICS) return this.selection.admits(update);
    if (this.#work === undefined || this.#update !== update) {
      this.#update = update;
      this.#work = this.#find(update);
    }
    this.#slice = slice;
    const { done, value } = this.#work.next();
    if (!done) return undefined;
    this.#update = undefined;
    this.#work = undefined;
    return value;
  }

  *#find({ topics, private: isPrivate }: Addressed): Generator<undefined, boolean> {
    const { selection } = this;
    if (!(yield* this.#some(topics, (topic) => selection.asksForTopic(topic)))) return false;
    return !isPrivate || (yield* this.#some(topics, (topic) => selection.isGranted(topic)));
  }

  /** Stops, with nothing, where the slice is over. */
  *#some(
    topics: readonly string[],
    isSo: (topic: string) => boolean,
  ): Generator<undefined, boolean> {
    for (const topic of topics) {
      if (isSo(topic)) return true;
      if (this.#slice.isOver) yield;
    }
    return false;
  }
}
