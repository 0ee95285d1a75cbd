import type { Entry } from './journal.js';

interface MemoryRecord {
  readonly sequence: number;
  readonly appendedAt: number;
  /** Undefined once it has been trimmed. Queues let go of such a record when it is worth it. */
  entry: Entry | undefined;
}

/** A record that has not been trimmed. */
export type HeldRecord = MemoryRecord & { readonly entry: Entry };

/** The record's entry is let go of at once; its queues are to be told by `letGo`. */
export function markTrimmed(record: MemoryRecord): void {
  record.entry = undefined;
}

/**
 * Records in order of their sequence: joined at the end, and left mostly at the start. The first and the last
 * are always held ones; trimmed ones between are never more than those held.
 */
export class RecordQueue {
  #items: (MemoryRecord | undefined)[] = [];
  #start = 0;
  #trimmed = 0;

  /** How many are held. */
  get length(): number {
    return this.#items.length - this.#start - this.#trimmed;
  }

  get first(): HeldRecord | undefined {
    return this.#items[this.#start] as HeldRecord | undefined;
  }

  get last(): HeldRecord | undefined {
    return this.#items.at(-1) as HeldRecord | undefined;
  }

  push(record: HeldRecord): void {
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
  newest(count: number, before = Number.POSITIVE_INFINITY): HeldRecord[] {
    const found: HeldRecord[] = [];
    for (
      let index = this.#indexOf(before) - 1;
      index >= this.#start && found.length < count;
      index--
    ) {
      const record = this.#items[index] as MemoryRecord;
      if (isHeld(record)) found.push(record);
    }
    return found.reverse();
  }

  /** The records from one sequence on, up to but without another. */
  *between(from: number, until: number): Generator<HeldRecord> {
    for (let index = this.#indexOf(from); index < this.#items.length; index++) {
      const record = this.#items[index] as MemoryRecord;
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
      if ((this.#items[middle] as MemoryRecord).sequence < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isHeld(record: MemoryRecord): record is HeldRecord {
  return record.entry !== undefined;
}
