import type { Entry } from '../journal.js';

/** What is in a queue: entries of a journal, or the keys that it remembers. */
interface MemoryRecord<T = Entry> {
  readonly sequence: number;
  readonly appendedAt: number;
  /** Undefined once it has been trimmed. Queues let go of such a record when it is worth it. */
  entry: T | undefined;
}

/** A record that has not been trimmed. */
export type HeldRecord<T = Entry> = MemoryRecord<T> & { readonly entry: T };

/** The record's entry is let go of at once; its queues are to be told by `letGo`. */
export function markTrimmed(record: MemoryRecord<unknown>): void {
  record.entry = undefined;
}

/**
 * Records in order of their sequence: joined at the end, and left mostly at the start. The first and the last
 * are always held ones; trimmed ones between are never more than those held.
 */
export class RecordQueue<T = Entry> {
  #items: (MemoryRecord<T> | undefined)[] = [];
  #start = 0;
  #trimmed = 0;

  /** How many are held. */
  get length(): number {
    return this.#items.length - this.#start - this.#trimmed;
  }

  get first(): HeldRecord<T> | undefined {
    return this.#items[this.#start] as HeldRecord<T> | undefined;
  }

  get last(): HeldRecord<T> | undefined {
    return this.#items.at(-1) as HeldRecord<T> | undefined;
  }

  push(record: HeldRecord<T>): void {
    // V8 gives a list that grows from nothing 17 places; most topics of a flood have one record.
    if (this.#items.length === 0) this.#items = [record];
    else this.#items.push(record);
  }

  /** One of the records has been trimmed. */
  letGo(): void {
    this.#trimmed += 1;
    while (this.#start < this.#items.length && this.#items[this.#start]?.entry === undefined) {
      this.#items[this.#start++] = undefined;
      this.#trimmed -= 1;
    }
    while (this.#items.length > this.#start && this.#items.at(-1)?.entry === undefined) {
      this.#items.pop();
      this.#trimmed -= 1;
    }
    // Array.shift would move all that is left; moving it once half is gone costs a constant each.
    if (this.#trimmed > this.length) {
      this.#items = this.#items.slice(this.#start).filter((record) => record?.entry !== undefined);
      this.#start = 0;
      this.#trimmed = 0;
    } else if (this.#start * 2 >= this.#items.length) {
      this.#items.splice(0, this.#start);
      this.#start = 0;
    }
  }

  /** The last records before a sequence, in order. */
  newest(count: number, before = Number.POSITIVE_INFINITY): HeldRecord<T>[] {
    const found: HeldRecord<T>[] = [];
    for (
      let index = this.#indexOf(before) - 1;
      index >= this.#start && found.length < count;
      index--
    ) {
      const record = this.#items[index] as MemoryRecord<T>;
      if (isHeld(record)) found.push(record);
    }
    return found.reverse();
  }

  /** The records from one sequence on, up to but without another. */
  *between(from: number, until: number): Generator<HeldRecord<T>> {
    for (let index = this.#indexOf(from); index < this.#items.length; index++) {
      const record = this.#items[index] as MemoryRecord<T>;
      if (record.sequence >= until) return;
      if (isHeld(record)) yield record;
    }
  }

  /** The index of the first record at or after a sequence. */
  #indexOf(sequence: number): number {
    if (sequence === Number.POSITIVE_INFINITY) return this.#items.length;
    let low = this.#start;
    let high = this.#items.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#items[middle] as MemoryRecord<T>).sequence < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isHeld<T>(record: MemoryRecord<T>): record is HeldRecord<T> {
  return record.entry !== undefined;
}
