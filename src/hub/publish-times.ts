import { performance } from 'node:perf_hooks';
import type { Entry, Update } from '../journal/journal.js';
import type { Group } from './group.js';

/** A sample that has not come to an end by then never will: all for whom it was have left. */
const MAX_AGE_MS = 60_000;

interface Sample {
  /** An entry has the very list of topics of its update: that is how it is known. */
  readonly topics: readonly string[];
  readonly since: number;
  /** It is on its way to clients. */
  isSent: boolean;
}

/**
 * How long it takes from the call that publishes an update here until it is written to all live clients that it is for.
 * One update at a time is followed on its way, so that it costs the others nothing.
 */
export class PublishTimes {
  readonly #onWritten: ((ms: number) => void) | undefined;
  #sample: Sample | undefined;

  /** @param onWritten told of each sample; without it none is taken. */
  constructor(onWritten: ((ms: number) => void) | undefined) {
    this.#onWritten = onWritten;
  }

  /** Updates are about to be appended. */
  begin(updates: readonly Update[], now: number): void {
    if (this.#onWritten === undefined || updates.length === 0) return;
    if (this.#sample !== undefined && now - this.#sample.since < MAX_AGE_MS) return;
    this.#sample = { topics: (updates[0] as Update).topics, since: now, isSent: false };
  }

  /** Updates will not be delivered any more, unless they have been. */
  end(updates: readonly Update[]): void {
    if (this.#sample?.topics === updates[0]?.topics && !this.#sample?.isSent) {
      this.#sample = undefined;
    }
  }

  /** An entry has been sent to its groups, `last` the last of them. */
  delivered({ topics }: Entry, last: Group | undefined): void {
    const sample = this.#sample;
    if (sample === undefined || sample.topics !== topics) return;
    if (last === undefined) {
      this.#sample = undefined; // Nobody waits for it.
      return;
    }
    sample.isSent = true;
    last.whenWritten(() => {
      this.#onWritten?.(performance.now() - sample.since);
      if (this.#sample === sample) this.#sample = undefined;
    });
  }
}
