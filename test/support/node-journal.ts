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
  Update,
} from '../../src/journal/journal.js';

/** A call of a journal that a test holds up. */
export interface HeldCall {
  /** Resolves when somebody has called and waits. */
  readonly called: Promise<void>;
  release(): void;
}

/**
 * A journal as one node of several has it: it reads and appends at once, but what it follows comes when the test says,
 * whoever has appended it; or is lost on the way, or comes again.
 */
export class NodeJournal implements Journal {
  readonly #shared: Journal;
  #follower: Follower | undefined;
  #untold: Entry[] = [];
  #told: Entry[] = [];
  readonly #held = new Map<string, { called: () => void; released: Promise<void> }>();

  constructor(shared: Journal) {
    this.#shared = shared;
  }

  /** How many entries have not been told. */
  get behind(): number {
    return this.#untold.length;
  }

  /** Tells the next entries, each in a call of its own. */
  tell(count = this.#untold.length): void {
    for (const entry of this.#untold.splice(0, count)) {
      this.#told.push(entry);
      this.#follower?.entries([entry]);
    }
  }

  /** Tells the last entries once more. */
  tellAgain(count: number): void {
    this.#follower?.entries(this.#told.slice(-count));
  }

  /** Loses the place: the next entries are not told. Without any it is lost all the same, and nothing is missing. */
  lose(count = this.#untold.length): void {
    const lost = this.#untold.splice(0, count);
    this.#told.push(...lost);
    const through = this.#told.at(-1);
    if (through) this.#follower?.lost(through.position);
  }

  /** Makes the next call of a method wait. */
  hold(method: 'read' | 'bounds' | 'newest' | 'trimmedTopics' | 'topics' | 'endings'): HeldCall {
    let release = (): void => undefined;
    let called = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const whenCalled = new Promise<void>((resolve) => {
      called = resolve;
    });
    this.#held.set(method, { called, released });
    return { called: whenCalled, release };
  }

  async #passing(method: string): Promise<void> {
    const held = this.#held.get(method);
    this.#held.delete(method);
    held?.called();
    await held?.released;
  }

  /** What this node appends is told before it is acknowledged, and so is all that was appended before. */
  async append(updates: readonly Update[], options?: AppendOptions): Promise<readonly EntryRef[]> {
    const refs = await this.#shared.append(updates, options);
    this.tell();
    return refs;
  }

  async follow(follower: Follower, after?: Position): Promise<Following> {
    const following = await this.#shared.follow(
      {
        entries: (entries) => void this.#untold.push(...entries),
        lost: (through) => follower.lost(through),
      },
      after,
    );
    this.#follower = follower;
    return following;
  }

  // What is asked is answered with what was so when it was asked: the answer is late, and others go on meanwhile.

  async read(range: ReadRange) {
    const result = await this.#shared.read(range);
    await this.#passing('read');
    return result;
  }

  async trimmedTopics(after: Position, of?: readonly string[]) {
    const result = await this.#shared.trimmedTopics(after, of);
    await this.#passing('trimmedTopics');
    return result;
  }

  locate(...asked: Parameters<Journal['locate']>) {
    return this.#shared.locate(...asked);
  }

  async *topics() {
    for await (const page of this.#shared.topics()) {
      await this.#passing('topics');
      yield page;
    }
  }

  async *endings() {
    for await (const page of this.#shared.endings()) {
      await this.#passing('endings');
      yield page;
    }
  }

  async newest(topics: readonly string[], options: NewestOptions) {
    const result = await this.#shared.newest(topics, options);
    await this.#passing('newest');
    return result;
  }

  async bounds() {
    const result = await this.#shared.bounds();
    await this.#passing('bounds');
    return result;
  }

  ping() {
    return this.#shared.ping();
  }

  close() {
    return this.#shared.close();
  }
}
