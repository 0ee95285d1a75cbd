import { setImmediate as nextTurn } from 'node:timers/promises';
import { AppendKeys, keyError } from '../append-keys.js';
import {
  type Append,
  ageCheckMs,
  closedError,
  plan,
  settle,
  takeWaiting,
  toRef,
} from '../commit.js';
import { Endings } from '../endings.js';
import { Followers } from '../followers.js';
import {
  type AppendOptions,
  comparePositions,
  type Ending,
  type Entry,
  type EntryRef,
  type Follower,
  type Following,
  isPosition,
  type Journal,
  type JournalSize,
  type Location,
  type NewestOptions,
  type Position,
  parsePosition,
  type ReadRange,
  type ReadResult,
  type Retention,
  type TrimmedTopic,
  type Update,
} from '../journal.js';
import { JournalClock } from '../journal-clock.js';
import {
  type Holding,
  lastingLimits,
  MEMORY_OVERHEAD,
  minus,
  NOTHING,
  overWhich,
  ownerOf,
  plus,
  Shares,
  sizeOf,
  TRANSIENT,
  transientLimits,
} from '../retention.js';
import {
  admitsAll,
  type LastTrimmed,
  later,
  mergeDistinct,
  TOPICS_PER_PAGE,
  takeWithin,
  trimmedIn,
} from '../select.js';
import { TrimmedTopics } from '../trimmed-topics.js';
import { type HeldRecord, markTrimmed, RecordQueue } from './record-queue.js';

/** Opens a journal that lives and dies with this process. */
export function openMemoryJournal(retention: Retention): Journal {
  return new MemoryJournal(retention);
}

/** At most so many records are trimmed for their age at once, which takes a few milliseconds. */
const AGE_TRIM_STEP = 10_000;

/** The records of an owner, as {@link ownerOf} names it. */
interface Owned {
  readonly records: RecordQueue;
  holding: Holding;
}

class MemoryJournal implements Journal {
  readonly #retention: Retention;
  readonly #shares: Shares;
  readonly #epoch = Date.now();
  readonly #clock = new JournalClock();
  #nextSequence = 1;
  readonly #records = new RecordQueue();
  /** Those that are not transient, and what they come to. */
  readonly #lasting: Owned = { records: new RecordQueue(), holding: NOTHING };
  readonly #byOwner = new Map<string, Owned>();
  readonly #byTopic = new Map<string, RecordQueue>();
  /** Of one id a record for each scope, in order. */
  readonly #byOwnId = new Map<string, readonly HeldRecord[]>();
  #lastTrimmed: LastTrimmed | undefined;
  readonly #trimmedTopics = new TrimmedTopics();
  #lastTrimmedTransient: Position | undefined;
  readonly #keys = new AppendKeys();
  #nextKey = 0;
  readonly #endings = new Endings();
  readonly #followers = new Followers(this);
  readonly #waiting: Append[] = [];
  #isCommitDue = false;
  #closed = false;
  readonly #ageCheck: NodeJS.Timeout | undefined;

  constructor(retention: Retention) {
    this.#retention = retention;
    this.#shares = new Shares(retention);
    if (retention.maxAgeMs > 0) {
      this.#ageCheck = setInterval(() => this.#trim(), ageCheckMs(retention.maxAgeMs)).unref();
    }
  }

  append(updates: readonly Update[], { key }: AppendOptions = {}): Promise<readonly EntryRef[]> {
    if (this.#closed) return Promise.reject(closedError());
    const error = key && keyError(key);
    if (error) return Promise.reject(error);
    return new Promise((resolve, reject) => {
      // Not at once: a follower that appends would overtake the entries still being told to the others.
      if (!this.#isCommitDue) queueMicrotask(() => this.#commit());
      this.#isCommitDue = true;
      this.#waiting.push({ updates, key, resolve, reject });
    });
  }

  async follow(follower: Follower, after?: Position): Promise<Following> {
    this.#assertOpen();
    return this.#followers.add(follower, after);
  }

  async read(range: ReadRange): Promise<ReadResult> {
    this.#assertOpen();
    const { through, topics } = range;
    const from = this.#firstSequenceOf(range);
    const until =
      through === undefined ? Number.POSITIVE_INFINITY : this.#firstSequenceAfter(through);
    const sources =
      topics === undefined
        ? [this.#records.between(from, until)]
        : topics.map((topic) => this.#byTopic.get(topic)?.between(from, until) ?? []);
    return {
      entries: takeWithin(range, entriesOf(sources)),
      ...trimmedIn(range, this.#lastTrimmed?.position, this.#lastTrimmedTransient),
    };
  }

  async trimmedTopics(
    after: Position,
    of?: readonly string[],
  ): Promise<readonly TrimmedTopic[] | undefined> {
    this.#assertOpen();
    return this.#trimmedTopics.after(after, of);
  }

  async locate(id: string, admits = admitsAll): Promise<Location> {
    this.#assertOpen();
    const held = this.#byOwnId.get(id)?.find(({ entry }) => admits(entry));
    if (held !== undefined) return { found: true, position: held.entry.position };
    const trimmed = this.#lastTrimmed;
    if (trimmed && (id === trimmed.position || (id === trimmed.id && admits(trimmed)))) {
      return { found: true, position: trimmed.position };
    }
    if (!isPosition(id)) return { found: false, reason: 'unknown' };

    const [epoch, sequence] = parsePosition(id);
    if (epoch !== this.#epoch || sequence === 0 || sequence >= this.#nextSequence) {
      return { found: false, reason: 'unknown' };
    }
    const [record] = this.#records.between(sequence, sequence + 1);
    const { through } = this.#trimmedTopics;
    const isPast = through !== undefined && comparePositions(id, through) < 0;
    // What was trimmed after it is known by its topics.
    if (record === undefined && isPast) return { found: false, reason: 'trimmed' };
    return { found: true, position: id };
  }

  async *topics(): AsyncGenerator<readonly string[]> {
    this.#assertOpen();
    let page: string[] = [];
    for (const topic of this.#byTopic.keys()) {
      if (page.push(topic) < TOPICS_PER_PAGE) continue;
      yield page;
      page = [];
      await nextTurn();
      this.#assertOpen();
    }
    if (page.length > 0) yield page;
  }

  async *endings(): AsyncGenerator<readonly Ending[]> {
    this.#assertOpen();
    for await (const page of this.#endings.pages(() => this.#clock.now())) {
      this.#assertOpen();
      yield page;
    }
  }

  async newest(
    topics: readonly string[],
    options: NewestOptions,
  ): Promise<readonly (readonly Entry[])[]> {
    this.#assertOpen();
    return topics.map((topic) => this.#newest(topic, options));
  }

  async bounds(): Promise<{ oldest: EntryRef | undefined; head: EntryRef | undefined }> {
    this.#assertOpen();
    const { first, last } = this.#records;
    return { oldest: first && toRef(first.entry), head: last && toRef(last.entry) };
  }

  async ping(): Promise<void> {
    this.#assertOpen();
  }

  async measure(): Promise<JournalSize> {
    this.#assertOpen();
    const { count, bytes } = this.#lasting.holding;
    const { first } = this.#lasting.records;
    const oldestAgeMs = first && this.#clock.now() - first.appendedAt;
    return { updates: count, bytes, oldestAgeMs };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ageCheck);
    while (this.#waiting.length > 0) this.#commit();
    this.#followers.close();
  }

  #newest(
    topic: string,
    { count, before, maxLength = Number.POSITIVE_INFINITY }: NewestOptions,
  ): readonly Entry[] {
    if (count === 0) return [];
    const until = before === undefined ? undefined : this.#firstSequenceFrom(before);
    const newestFirst = (this.#byTopic.get(topic)?.newest(count, until) ?? []).reverse();
    const entries = newestFirst.map(({ entry }) => entry);
    return takeWithin({ maxEntries: count, maxLength }, entries).reverse();
  }

  #commit(): void {
    const appends = takeWaiting(this.#waiting);
    // The rest has turns of its own, so that a herd of large appends does not hold up the event loop.
    this.#isCommitDue = this.#waiting.length > 0;
    if (this.#isCommitDue) setImmediate(() => this.#commit());
    if (appends.length === 0) return;
    const appendedAt = this.#clock.now();
    const planned = plan(
      appends,
      (id, scope) => this.#byOwnId.get(id)?.find(({ entry }) => entry.scope === scope)?.entry,
      (n) => `${this.#epoch}-${this.#nextSequence + n}`,
      (key) => this.#keys.find(key, appendedAt),
      (topic) => this.#endings.hasEnded(topic, appendedAt),
    );
    for (const entry of planned.entries) {
      this.#add({ sequence: this.#nextSequence++, appendedAt, entry });
    }
    this.#keys.forget(appendedAt, planned.keys);
    for (const key of planned.keys) this.#keys.add(key, this.#nextKey++, appendedAt);
    this.#endings.settle(this.#endings.prepare(planned.endings, appendedAt));
    this.#trim();
    this.#followers.tell(planned.entries);
    settle(appends, planned);
  }

  #add(record: HeldRecord): void {
    const { entry } = record;
    const { id, position, topics } = entry;
    this.#records.push(record);
    if (id !== position) this.#byOwnId.set(id, [...(this.#byOwnId.get(id) ?? []), record]);
    for (const topic of topics) {
      const records = this.#byTopic.get(topic) ?? new RecordQueue();
      if (records.length === 0) this.#byTopic.set(topic, records);
      records.push(record);
    }

    const size = sizeOf(entry, MEMORY_OVERHEAD);
    const owner = ownerOf(entry);
    const owned = this.#byOwner.get(owner) ?? { records: new RecordQueue(), holding: NOTHING };
    if (owned.records.length === 0) this.#byOwner.set(owner, owned);
    owned.records.push(record);
    owned.holding = plus(owned.holding, size);
    if (owner === TRANSIENT) return;
    this.#shares.note(owner, owned.holding);
    this.#lasting.records.push(record);
    this.#lasting.holding = plus(this.#lasting.holding, size);
  }

  #trim(): void {
    this.#trimTransient();
    this.#trimLasting();
    const { maxAgeMs } = this.#retention;
    if (maxAgeMs === 0) return;
    const appendedBefore = this.#clock.now() - maxAgeMs;
    for (let n = 0; n < AGE_TRIM_STEP; n++) {
      const { first } = this.#records;
      if (first === undefined || first.appendedAt >= appendedBefore) return;
      this.#remove(first);
    }
  }

  #trimTransient(): void {
    const limits = transientLimits(this.#retention);
    for (;;) {
      const owned = this.#byOwner.get(TRANSIENT);
      if (owned?.records.first === undefined || !overWhich(owned.holding, limits)) return;
      this.#remove(owned.records.first);
    }
  }

  #trimLasting(): void {
    const limits = lastingLimits(this.#retention);
    for (;;) {
      const kind = overWhich(this.#lasting.holding, limits);
      if (kind === undefined) return;
      const heaviest = this.#shares.heaviest(kind);
      const { records } =
        heaviest === undefined ? this.#lasting : (this.#byOwner.get(heaviest) as Owned);
      this.#remove(records.first as HeldRecord);
    }
  }

  /** Removes a record, which is the oldest of its owner. */
  #remove(record: HeldRecord): void {
    const { entry } = record;
    const { id, position, topics } = entry;
    const isFront = record === this.#lasting.records.first;
    markTrimmed(record);
    this.#records.letGo();
    if (id !== position) {
      const others = (this.#byOwnId.get(id) ?? []).filter((each) => each !== record);
      if (others.length > 0) this.#byOwnId.set(id, others);
      else this.#byOwnId.delete(id);
    }
    for (const topic of topics) {
      const records = this.#byTopic.get(topic) as RecordQueue;
      records.letGo();
      if (records.length === 0) this.#byTopic.delete(topic);
    }

    const size = sizeOf(entry, MEMORY_OVERHEAD);
    const owner = ownerOf(entry);
    const owned = this.#byOwner.get(owner) as Owned;
    owned.records.letGo();
    owned.holding = minus(owned.holding, size);
    if (owned.records.length === 0) this.#byOwner.delete(owner);
    if (owner === TRANSIENT) {
      this.#lastTrimmedTransient = later(this.#lastTrimmedTransient, position);
      return;
    }
    this.#shares.note(owner, owned.holding);
    if (isFront) this.#trimmedTopics.addFront(position);
    else this.#trimmedTopics.add(entry, position);
    this.#lasting.records.letGo();
    this.#lasting.holding = minus(this.#lasting.holding, size);
    if (later(this.#lastTrimmed?.position, position) === position) {
      this.#lastTrimmed = { id, position, topics, private: entry.private };
    }
  }

  #firstSequenceOf({ after, from }: ReadRange): number {
    if (from !== undefined) return this.#firstSequenceFrom(from);
    return after === undefined ? 0 : this.#firstSequenceAfter(after);
  }

  /** This journal has one epoch, so that places in it are compared by their sequence. */
  #firstSequenceAfter(position: Position): number {
    return this.#firstSequenceFrom(position, 1);
  }

  #firstSequenceFrom(position: Position, later = 0): number {
    const [epoch, sequence] = parsePosition(position);
    if (epoch !== this.#epoch) return epoch < this.#epoch ? 0 : Number.POSITIVE_INFINITY;
    return sequence + later;
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

function* entriesOf(sources: readonly Iterable<HeldRecord>[]): Generator<Entry> {
  const [only = []] = sources;
  const records =
    sources.length > 1 ? mergeDistinct(sources, (a, b) => a.sequence - b.sequence) : only;
  for (const { entry } of records) yield entry;
}
