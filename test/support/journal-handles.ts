import type {
  AppendOptions,
  Entry,
  EntryRef,
  Follower,
  Following,
  Journal,
  NewestOptions,
  Position,
  ReadRange,
  Retention,
  Update,
} from '../../src/journal/journal.js';
import { JournalError } from '../../src/journal/journal.js';
import { openMemoryJournal } from '../../src/journal/memory/memory.js';

/**
 * One of several handles on a journal in memory. Its followers are told a turn later, as over a network, but for what
 * was appended by this handle. The last handle that closes closes the journal.
 */
export class JournalHandle implements Journal {
  readonly #shared: { readonly journal: Journal; handles: number };
  readonly #queues = new Set<TellingQueue>();
  #isClosed = false;

  static open(retention: Retention): JournalHandle {
    return new JournalHandle({ journal: openMemoryJournal(retention), handles: 0 });
  }

  private constructor(shared: { readonly journal: Journal; handles: number }) {
    this.#shared = shared;
    shared.handles += 1;
  }

  openSecond(): JournalHandle {
    return new JournalHandle(this.#shared);
  }

  async append(updates: readonly Update[], options?: AppendOptions): Promise<readonly EntryRef[]> {
    const refs = await this.#open().append(updates, options);
    for (const queue of this.#queues) queue.tell();
    return refs;
  }

  async follow(follower: Follower, after?: Position): Promise<Following> {
    const queue = new TellingQueue(follower);
    const following = await this.#open().follow(queue, after);
    this.#queues.add(queue);
    const close = (): void => {
      following.close();
      queue.close();
      this.#queues.delete(queue);
    };
    return { after: following.after, close };
  }

  async read(range: ReadRange) {
    return this.#open().read(range);
  }

  async trimmedTopics(after: Position, of?: readonly string[]) {
    return this.#open().trimmedTopics(after, of);
  }

  async locate(...asked: Parameters<Journal['locate']>) {
    return this.#open().locate(...asked);
  }

  async *topics() {
    for await (const page of this.#open().topics()) {
      yield page;
      this.#open();
    }
  }

  async *endings() {
    for await (const page of this.#open().endings()) {
      yield page;
      this.#open();
    }
  }

  async newest(topics: readonly string[], options: NewestOptions) {
    return this.#open().newest(topics, options);
  }

  async bounds() {
    return this.#open().bounds();
  }

  async ping() {
    return this.#open().ping();
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#shared.handles -= 1;
    // So many that its own appends under way have ended.
    for (let turns = 0; turns < 5; turns += 1) await new Promise(setImmediate);
    for (const queue of this.#queues) queue.close();
    if (this.#shared.handles === 0) await this.#shared.journal.close();
  }

  #open(): Journal {
    if (this.#isClosed)
      throw new JournalError('ERR_JOURNAL_CLOSED', 'The journal has been closed.');
    return this.#shared.journal;
  }
}

/** What a follower is told a turn later. */
class TellingQueue implements Follower {
  readonly #follower: Follower;
  #calls: ((follower: Follower) => void)[] = [];
  #isClosed = false;

  constructor(follower: Follower) {
    this.#follower = follower;
  }

  entries(entries: readonly Entry[]): void {
    this.#add((follower) => follower.entries(entries));
  }

  lost(through: Position): void {
    this.#add((follower) => follower.lost(through));
  }

  tell(): void {
    const calls = this.#calls;
    this.#calls = [];
    for (const call of calls) if (!this.#isClosed) call(this.#follower);
  }

  close(): void {
    this.#isClosed = true;
  }

  #add(call: (follower: Follower) => void): void {
    this.#calls.push(call);
    setImmediate(() => this.tell());
  }
}
