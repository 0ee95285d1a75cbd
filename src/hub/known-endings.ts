import { performance } from 'node:perf_hooks';
import { Endings, endingBy } from '../journal/endings.js';
import {
  BEGINNING,
  comparePositions,
  type Ending,
  type Entry,
  type Journal,
  type Position,
} from '../journal/journal.js';

/** The last update of an ended topic: where it stands, and who may know of it. */
export type LastUpdate = Ending['update'];

/**
 * Which topics have ended, as far as this process has followed the journal: what the journal remembered when following
 * began, and what was delivered since. Bounded as the journal's own endings are.
 */
export class KnownEndings {
  #endings = new Endings();
  /** What was delivered up to here has been noted. */
  #through: Position = BEGINNING;
  #isComplete = false;
  /**
   * While endings are loaded: the topics that were published under meanwhile, and where. Of these, what is loaded may be
   * older than what is known.
   */
  #goneOn: Map<string, Position> | undefined;

  /** Whether all endings up to the last delivered update are known. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** Forgets everything, for what is delivered next is not what comes next. It goes on after a position. */
  restart(after: Position): void {
    this.#endings = new Endings();
    this.#through = after;
    this.#isComplete = false;
    this.#goneOn = undefined;
  }

  /**
   * Loads what the journal remembers; updates may be delivered meanwhile. If all begins anew meanwhile it gives up, and
   * is to be called again.
   *
   * @throws {JournalError} as `Journal.endings` does.
   */
  async load(journal: Pick<Journal, 'endings'>): Promise<void> {
    const goneOn = new Map<string, Position>();
    this.#goneOn = goneOn;
    for await (const page of journal.endings()) {
      if (this.#goneOn !== goneOn) return;
      for (const ending of page) this.#addLoaded(ending, goneOn);
    }
    if (this.#goneOn !== goneOn) return;
    this.#goneOn = undefined;
    this.#isComplete = true;
  }

  /** Notes the next update, in the turn in which it is delivered. As a rule it has nothing to do with an end. */
  deliver(entry: Entry): void {
    this.#through = entry.position;
    if (entry.last === true) this.#change([endingBy(entry)], entry.topics);
    else if (this.#goneOn !== undefined || !this.#endings.isEmpty) this.#goOn(entry);
  }

  /** The update that a topic has ended with; undefined if it has not ended. */
  lastOf(topic: string): LastUpdate | undefined {
    return this.#endings.lastOf(topic);
  }

  #goOn({ topics, position }: Entry): void {
    for (const topic of topics) this.#goneOn?.set(topic, position);
    const reopened = topics.filter((topic) => this.lastOf(topic) !== undefined);
    if (reopened.length > 0) this.#change([], reopened);
  }

  #addLoaded({ ended, update }: Ending, goneOn: ReadonlyMap<string, Position>): void {
    // It is yet to be delivered, and noted then.
    if (isAfter(update.position, this.#through)) return;
    const left = ended.filter((topic) => {
      const known = this.lastOf(topic)?.position ?? BEGINNING;
      return isAfter(update.position, known) && isAfter(update.position, goneOn.get(topic));
    });
    if (left.length > 0) this.#change([{ ended: left, update }], left);
  }

  #change(ended: readonly Ending[], reopened: readonly string[]): void {
    this.#endings.settle(this.#endings.prepare({ ended, reopened }, performance.now()));
  }
}

function isAfter(position: Position, other: Position = BEGINNING): boolean {
  return comparePositions(position, other) > 0;
}
