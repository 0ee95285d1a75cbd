import { closedError } from './commit.js';
import {
  BEGINNING,
  comparePositions,
  type Entry,
  type Follower,
  type Following,
  type Journal,
  type Position,
} from './journal.js';

/** How much is read at once for a follower that starts behind the newest entry, in entries and in UTF-16 units. */
const MAX_ENTRIES = 512;
const MAX_LENGTH = 1024 * 1024;

/** The followers of a journal that this process alone appends to. */
export class Followers {
  readonly #journal: Pick<Journal, 'read'>;
  readonly #followers = new Set<Follower>();
  /** Everything up to here has been told, or was there before. */
  #told: Position;
  #isClosed = false;

  /** @param newest the newest entry that the journal has had. */
  constructor(journal: Pick<Journal, 'read'>, newest: Position = BEGINNING) {
    this.#journal = journal;
    this.#told = newest;
  }

  /** As {@link Journal.follow} says. */
  async add(follower: Follower, after: Position = this.#told): Promise<Following> {
    const start = comparePositions(after, this.#told) > 0 ? this.#told : after;
    let at = start;
    while (comparePositions(at, this.#told) < 0) at = await this.#tellSome(follower, at);
    if (this.#isClosed) throw closedError();
    // In the turn in which it was found to be told of everything.
    const own: Follower = {
      entries: (entries) => follower.entries(entries),
      lost: (through) => follower.lost(through),
    };
    this.#followers.add(own);
    return { after: start, close: () => this.#followers.delete(own) };
  }

  /** Tells all followers the next entries. */
  tell(entries: readonly Entry[]): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.#told = last.position;
    // A copy: who begins to follow in here follows what comes next.
    for (const follower of [...this.#followers]) {
      if (this.#followers.has(follower)) follower.entries(entries);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#followers.clear();
  }

  /** Tells a follower the entries after a position that others have been told before. Returns how far. */
  async #tellSome(follower: Follower, after: Position): Promise<Position> {
    const through = this.#told;
    const range = { after, through, maxEntries: MAX_ENTRIES, maxLength: MAX_LENGTH };
    const { entries, trimmed, trimmedTransient, damaged } = await this.#journal.read(range);
    if (trimmed || trimmedTransient || damaged) {
      follower.lost(through);
      return through;
    }
    if (entries.length > 0) follower.entries(entries);
    return entries.at(-1)?.position ?? through;
  }
}
