import { comparePositions } from '../journal/journal.js';
import type { TimeSlice } from '../time-slice.js';
import { Admission } from '../topics/admission.js';
import type { Selection } from '../topics/selection.js';
import type { KnownEndings, LastUpdate } from './known-endings.js';
import { admits } from './reader.js';

/**
 * Whether all that a selection asks for has ended. Only exact topics can end: of a template or `*` there is always more
 * to come. An end with a private update counts only for those who may receive it: nobody else is to learn that it was
 * published.
 */
export class SelectionEnd {
  readonly #endings: KnownEndings;
  readonly #selection: Selection;
  /** Which private updates the selection may receive: found out in slices, since a token may have many grants. */
  #receives: Map<LastUpdate, boolean> | undefined;

  constructor(endings: KnownEndings, selection: Selection) {
    this.#endings = endings;
    this.#selection = selection;
  }

  /** Whether it can end at all. */
  get isPossible(): boolean {
    return this.#topics.length > 0;
  }

  /**
   * The newest of the last updates, if all has ended; undefined if not. `unknown` if that takes {@link find} to know.
   * True until the next update is delivered: look and act in one turn.
   */
  look(): LastUpdate | 'unknown' | undefined {
    let newest: LastUpdate | undefined;
    let isUnknown = false;
    for (const topic of this.#topics) {
      const last = this.#endings.lastOf(topic);
      const receives = last && this.#receivesIfKnown(last);
      if (last === undefined || receives === false) return undefined;
      if (receives === undefined) isUnknown = true;
      if (newest === undefined || comparePositions(newest.position, last.position) < 0) {
        newest = last;
      }
    }
    return isUnknown ? 'unknown' : newest;
  }

  /** Finds out what was `unknown`. What comes meanwhile may be unknown again. */
  async find(slice: TimeSlice): Promise<void> {
    for (const topic of this.#topics) {
      const last = this.#endings.lastOf(topic);
      if (last === undefined) return;
      if (this.#receivesIfKnown(last) === undefined) {
        const admission = new Admission(this.#selection);
        const receives = await admits(admission, last, slice);
        this.#receives ??= new Map();
        this.#receives.set(last, receives);
        if (!receives) return;
      }
      if (slice.isOver) await slice.next();
    }
  }

  get #topics(): readonly string[] {
    const { topics } = this.#selection;
    return topics === undefined || topics === 'all' ? [] : topics;
  }

  #receivesIfKnown(last: LastUpdate): boolean | undefined {
    if (!last.private) return true;
    return this.#selection.hasGrants ? this.#receives?.get(last) : false;
  }
}
