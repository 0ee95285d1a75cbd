import { type Append, ageCheckMs, closedError, Followers, plan, settle, toRef } from './commit.js';
import {
  comparePositions,
  type Entry,
  type EntryRef,
  isPosition,
  type Journal,
  type Location,
  type Position,
  parsePosition,
  type ReadRange,
  type ReadResult,
  type Retention,
  type Update,
} from './journal.js';
import { mergeDistinct, takeWithin } from './select.js';

/** Opens a journal that lives and dies with this process. */
export function openMemoryJournal(retention: Retention): Journal {
  return new MemoryJournal(retention);
}

/** At most so many records are trimmed for their age at once, which takes a few milliseconds. */
const AGE_TRIM_STEP = 10_000;

interface MemoryRecord {
  readonly sequence: number;
  readonly appendedAt: number;
  readonly entry: Entry;
}

class MemoryJournal implements Journal {
  readonly #retention: Retention;
  readonly #epoch = Date.now();
  #nextSequence = 1;
  readonly #records = new RecordQueue();
  readonly #byTopic = new Map<string, RecordQueue>();
  readonly #byOwnId = new Map<string, MemoryRecord>();
  #lastTrimmed: EntryRef | undefined;
  readonly #followers = new Followers();
  #waiting: Append[] = [];
  #closed = false;
  readonly #ageCheck: NodeJS.Timeout | undefined;

  constructor(retention: Retention) {
    this.#retention = retention;
    if (retention.maxAgeMs > 0) {
      this.#ageCheck = setInterval(() => this.#trim(), ageCheckMs(retention.maxAgeMs)).unref();
    }
  }

  append(updates: readonly Update[]): Promise<readonly EntryRef[]> {
    if (this.#closed) return Promise.reject(closedError());
    return new Promise((resolve, reject) => {
      // Not at once: a follower that appends would overtake the entries still being told to the others.
      if (this.#waiting.length === 0) queueMicrotask(() => this.#commit());
      this.#waiting.push({ updates, resolve, reject });
    });
  }

  follow(listener: (entries: readonly Entry[]) => void): () => void {
    if (this.#closed) throw closedError();
    return this.#followers.add(listener);
  }

  async read(range: ReadRange): Promise<ReadResult> {
    this.#assertOpen();
    const { after, through, topics } = range;
    const from = after === undefined ? 0 : this.#firstSequenceAfter(after);
    const until =
      through === undefined ? Number.POSITIVE_INFINITY : this.#firstSequenceAfter(through);
    const sources =
      topics === undefined
        ? [this.#records.between(from, until)]
        : topics.map((topic) => this.#byTopic.get(topic)?.between(from, until) ?? []);
    const trimmed =
      after !== undefined &&
      this.#lastTrimmed !== undefined &&
      comparePositions(after, this.#lastTrimmed.position) < 0;
    return { entries: takeWithin(range, entriesOf(sources)), trimmed };
  }

  async locate(id: string): Promise<Location> {
    this.#assertOpen();
    const position = this.#byOwnId.get(id)?.entry.position;
    if (position !== undefined) return { found: true, position };
    const trimmed = this.#lastTrimmed;
    if (trimmed && (id === trimmed.id || id === trimmed.position)) {
      return { found: true, position: trimmed.position };
    }
    if (!isPosition(id)) return { found: false, reason: 'unknown' };

    const [epoch, sequence] = parsePosition(id);
    if (epoch !== this.#epoch || sequence === 0) return { found: false, reason: 'unknown' };
    const oldest = this.#records.first?.sequence ?? this.#nextSequence;
    if (sequence < oldest) return { found: false, reason: 'trimmed' };
    const [record] = this.#records.between(sequence, sequence + 1);
    return record ? { found: true, position: id } : { found: false, reason: 'unknown' };
  }

  async topics(): Promise<readonly string[]> {
    this.#assertOpen();
    return [...this.#byTopic.keys()];
  }

  async newest(topic: string, count: number): Promise<readonly Entry[]> {
    this.#assertOpen();
    return (this.#byTopic.get(topic)?.newest(count) ?? []).map(({ entry }) => entry);
  }

  async bounds(): Promise<{ oldest: EntryRef | undefined; head: EntryRef | undefined }> {
    this.#assertOpen();
    const { first, last } = this.#records;
    return { oldest: first && toRef(first.entry), head: last && toRef(last.entry) };
  }

  async ping(): Promise<void> {
    this.#assertOpen();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#ageCheck);
    if (this.#waiting.length > 0) this.#commit();
    this.#followers.clear();
  }

  #commit(): void {
    const appends = this.#waiting;
    if (appends.length === 0) return;
    this.#waiting = [];
    const planned = plan(
      appends,
      (id) => this.#byOwnId.get(id)?.entry,
      (n) => `${this.#epoch}-${this.#nextSequence + n}`,
    );
    const appendedAt = Date.now();
    for (const entry of planned.entries) {
      this.#add({ sequence: this.#nextSequence++, appendedAt, entry });
    }
    this.#trim();
    this.#followers.tell(planned.entries);
    settle(appends, planned);
  }

  #add(record: MemoryRecord): void {
    const { id, position, topics } = record.entry;
    this.#records.push(record);
    if (id !== position) this.#byOwnId.set(id, record);
    for (const topic of topics) {
      const records = this.#byTopic.get(topic) ?? new RecordQueue();
      if (records.length === 0) this.#byTopic.set(topic, records);
      records.push(record);
    }
  }

  #trim(): void {
    const { maxUpdates, maxAgeMs } = this.#retention;
    while (this.#records.length > maxUpdates) this.#trimOldest();
    if (maxAgeMs === 0) return;
    const appendedBefore = Date.now() - maxAgeMs;
    for (let n = 0; n < AGE_TRIM_STEP; n++) {
      const { first } = this.#records;
      if (first === undefined || first.appendedAt >= appendedBefore) return;
      this.#trimOldest();
    }
  }

  #trimOldest(): void {
    const { entry } = this.#records.shift();
    this.#lastTrimmed = toRef(entry);
    this.#byOwnId.delete(entry.id);
    for (const topic of entry.topics) {
      const records = this.#byTopic.get(topic) as RecordQueue;
      records.shift();
      if (records.length === 0) this.#byTopic.delete(topic);
    }
  }

  /** This journal has one epoch, so that places in it are compared by their sequence. */
  #firstSequenceAfter(position: Position): number {
    const [epoch, sequence] = parsePosition(position);
    if (epoch !== this.#epoch) return epoch < this.#epoch ? 0 : Number.POSITIVE_INFINITY;
    return sequence + 1;
  }

  #assertOpen(): void {
    if (this.#closed) throw closedError();
  }
}

function* entriesOf(sources: readonly Iterable<MemoryRecord>[]): Generator<Entry> {
  const [only = []] = sources;
  const records =
    sources.length > 1 ? mergeDistinct(sources, (a, b) => a.sequence - b.sequence) : only;
  for (const { entry } of records) yield entry;
}

/** Records in order of their sequence: joined at the end, left at the start. */
class RecordQueue {
  #items: (MemoryRecord | undefined)[] = [];
  #start = 0;

  get length(): number {
    return this.#items.length - this.#start;
  }

  get first(): MemoryRecord | undefined {
    return this.#items[this.#start];
  }

  get last(): MemoryRecord | undefined {
    return this.#items.at(-1);
  }

  push(record: MemoryRecord): void {
    this.#items.push(record);
  }

  shift(): MemoryRecord {
    const record = this.#items[this.#start] as MemoryRecord;
    this.#items[this.#start++] = undefined;
    // Array.shift would move all that is left; moving it once half is gone costs a constant each.
    if (this.#start * 2 >= this.#items.length) {
      this.#items.splice(0, this.#start);
      this.#start = 0;
    }
    return record;
  }

  /** The last records, in order. */
  newest(count: number): MemoryRecord[] {
    const from = Math.max(this.#start, this.#items.length - count);
    return this.#items.slice(from) as MemoryRecord[];
  }

  /** The records from one sequence on, up to but without another. */
  *between(from: number, until: number): Generator<MemoryRecord> {
    for (let index = this.#indexOf(from); index < this.#items.length; index++) {
      const record = this.#items[index] as MemoryRecord;
      if (record.sequence >= until) return;
      yield record;
    }
  }

  /** The index of the first record at or after a sequence. */
  #indexOf(sequence: number): number {
    let low = this.#start;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#items[middle] as MemoryRecord).sequence < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
