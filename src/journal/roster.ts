/**
 * The contract of a roster: who is subscribed to what, on this node and on the others that share it. It stands beside
 * that of the journal since the same keeps both: the process, or the Redis of a cluster. Its keepers know no HTTP and
 * no SSE.
 *
 * What a node notes is there before the call resolves, on every node. So whoever tells others of a change, in updates,
 * tells it after that: a list that is read later than the newest update one has seen is never older than that update.
 */

/** One event stream, with all that it is subscribed to. Nobody changes it once it is handed over. */
export interface Subscriber {
  /** Random, and never given to another one: ASCII, without slashes. */
  readonly name: string;
  /** The selectors' texts, each once; each has at most 1,024 bytes when it is percent-encoded. */
  readonly selectors: readonly string[];
  /** Anything that JSON has, told to those who may read the roster. */
  readonly payload?: unknown;
}

/** One subscriber's interest in one selector. */
export interface RosterEntry {
  readonly selector: string;
  readonly subscriber: string;
  readonly payload?: unknown;
}

/** What became of a change. */
export type NoteResult =
  | {
      readonly noted: true;
      /**
       * Names the change. Who publishes what it was does so under this idempotency key. If the key is taken, this node
       * was taken for dead before, and another one has published its ends. Undefined if there are no others.
       */
      readonly key: string | undefined;
    }
  /** This node was expelled, and nothing was noted: see {@link RosterWatcher.expelled}. */
  | { readonly noted: false };

export interface Roster {
  /**
   * Adds subscribers of this node and takes others away, all or none, and resolves when every node sees it. While the
   * roster is away it waits, without an end. One call at a time: the next one says, too, that what this one has changed
   * is published.
   *
   * @throws {JournalError} ERR_JOURNAL_CLOSED.
   */
  note(starts: readonly Subscriber[], ends: readonly Subscriber[]): Promise<NoteResult>;

  /** What the last {@link note} has changed is published: nobody else has to. */
  settle(): void;

  /**
   * The subscriptions of all nodes, or those to one selector, each once; in pages of at most 1,000, which may be empty.
   * Each page is a turn of its own and nothing is held between pages. What comes or goes meanwhile may be in it or not.
   *
   * @throws {JournalError} ERR_JOURNAL_UNAVAILABLE: the roster is away, as is known after some seconds at most.
   */
  list(selector?: string): AsyncIterable<readonly RosterEntry[]>;

  /** One of them. @throws {JournalError} ERR_JOURNAL_UNAVAILABLE, as `list` does. */
  get(selector: string, subscriber: string): Promise<RosterEntry | undefined>;

  /** Names who is told of the others. Once, before the first {@link note}. */
  watch(watcher: RosterWatcher): void;

  /** Says that this node has gone: what it has left belongs to the others. Resolves within some seconds. */
  close(): Promise<void>;
}

/** What happens to a roster by no doing of this node. */
export interface RosterWatcher {
  /**
   * A node has gone, and this is some of what it has left. It is not listed any more. Its ends are to be published,
   * once; if this rejects, or never ends, the same is told again, here or elsewhere.
   */
  left(departure: Departure): Promise<void>;
  /**
   * This node was taken for dead, as one that was cut off, or the roster has lost what it had noted. Its subscribers are
   * not listed, or will not be in a moment, and their ends are others' to publish. Those that are still here are noted
   * again, under new names. Does not throw.
   */
  expelled(): void;
}

/** Some of what a node has left: each time the same under the same key. */
export interface Departure {
  /**
   * The ends of all are published under this idempotency key, with a digest that tells them from what the node itself may
   * have published under it, or may still.
   */
  readonly key: string;
  /** Had ended, as the node had noted. If the key is taken, it has published these ends. */
  readonly ended: readonly RosterEntry[];
  /** Had not ended. If the key is taken, their ends are published under the other one. */
  readonly active: readonly RosterEntry[];
  readonly otherKey: string;
}
