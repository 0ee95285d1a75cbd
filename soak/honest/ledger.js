/**
 * What was published, and whether everybody got what was theirs: in the journal's order, without a hole or a
 * repeat.
 *
 * The journal's order is that in which one subscriber, the reference, receives everything. Every other
 * subscriber must receive its part of that, and what its publishers were told is published must be in it.
 */
import { randomUUID } from 'node:crypto';
import { Samples } from './samples.js';

/** Examples that are kept of each kind of failure. */
const MAX_EXAMPLES = 5;

/** The reference's order is cut off before what every subscriber has passed, in steps of so many. */
const PRUNE = 20_000;

export class Ledger {
  /** Published to received. */
  latency = new Samples();
  /** Published to answered. */
  acknowledged = new Samples();
  counts = {
    published: 0,
    acknowledged: 0,
    received: 0,
    skipped: 0,
    retried: 0,
    cut: 0,
    refused: 0,
  };
  failures = new Map();
  /** Hostile publishers do not know it. */
  #mark = randomUUID();
  #records = new Map();
  #next = 1;
  #order = [];
  /** How many of the order have been cut off. */
  #offset = 0;
  #accounts = [];

  /** A new update. Its data carries the number. */
  write(topics, isPrivate) {
    const record = {
      number: this.#next++,
      topics,
      isPrivate,
      firstSentAt: undefined,
      sentAt: undefined,
      isAcknowledged: false,
      place: undefined,
    };
    this.#records.set(record.number, record);
    return record;
  }

  /** What a record's update begins with. */
  dataOf({ number }) {
    return `${this.#mark} ${number} `;
  }

  /** The record that an event's data speaks of; undefined if it is not an honest publisher's. */
  recordOf(data) {
    const [mark, number] = data.split(' ', 2);
    return mark === this.#mark ? this.#records.get(Number(number)) : undefined;
  }

  /** @param wants whether a record is for this subscriber. */
  openAccount(name, wants, { isReference = false } = {}) {
    const account = { name, wants, isReference, openedAt: undefined, place: 0, received: [] };
    this.#accounts.push(account);
    return account;
  }

  /** A subscriber has received an update, as the next of its own. */
  enter(account, record, id) {
    this.counts.received += 1;
    if (!account.wants(record)) {
      const kind = record.isPrivate
        ? 'a private update without a grant'
        : 'an update that was not asked for';
      this.fail(kind, `${account.name} got ${id} on ${record.topics}`);
    }
    if (!account.isReference) {
      account.received.push(record);
    } else if (record.place !== undefined) {
      this.fail('repeated', `${account.name} got ${id} again`);
    } else {
      record.place = this.#offset + this.#order.length;
      this.#order.push(record);
    }
  }

  /** Compares what was received so far with the order. */
  check() {
    for (const account of this.#accounts) {
      let checked = 0;
      for (const record of account.received) {
        if (record.place === undefined) break; // The reference is behind.
        checked += 1;
        if (record.place < account.place) {
          this.fail('repeated or out of order', `${account.name} got update ${record.number}`);
        } else {
          this.#expectNothing(account, record.place);
          account.place = record.place + 1;
        }
      }
      if (checked > 0) account.received.splice(0, checked);
      if (account.isReference) account.place = this.#end;
    }
    this.#prune();
  }

  /** Whether everybody has everything that was acknowledged. */
  isSettled() {
    this.check();
    return this.#missing().length === 0;
  }

  /** For the end: what has not come by now is missed. */
  close() {
    this.check();
    for (const { name, record } of this.#missing()) {
      this.fail('missed', `${name} did not get update ${record.number} on ${record.topics}`);
    }
  }

  fail(kind, example) {
    const failure = this.failures.get(kind) ?? { count: 0, examples: [] };
    failure.count += 1;
    if (failure.examples.length < MAX_EXAMPLES) failure.examples.push(example);
    this.failures.set(kind, failure);
  }

  get #end() {
    return this.#offset + this.#order.length;
  }

  /** Between what an account had and a place there must be nothing that it should have had. */
  #expectNothing(account, end) {
    for (let place = account.place; place < end; place++) {
      const record = this.#order[place - this.#offset];
      if (isOwed(account, record)) {
        this.fail(
          'missed',
          `${account.name} did not get update ${record.number} on ${record.topics}`,
        );
      }
    }
  }

  #missing() {
    const missing = [];
    for (const account of this.#accounts) {
      if (account.isReference) {
        for (const record of this.#records.values()) {
          if (record.isAcknowledged && record.place === undefined && isOwed(account, record)) {
            missing.push({ name: account.name, record });
          }
        }
        continue;
      }
      const waiting = new Set(account.received);
      for (let place = account.place; place < this.#end; place++) {
        const record = this.#order[place - this.#offset];
        if (isOwed(account, record) && !waiting.has(record))
          missing.push({ name: account.name, record });
      }
    }
    return missing;
  }

  #prune() {
    const passed = Math.min(...this.#accounts.map(({ place }) => place)) - this.#offset;
    // Twice as much stays: subscribers that go back to an older id receive it again.
    if (passed < 2 * PRUNE) return;
    for (const { number } of this.#order.splice(0, PRUNE)) this.#records.delete(number);
    this.#offset += PRUNE;
  }
}

/** What was sent after a subscriber had its answer. What was on its way then may come or not. */
function isOwed(account, record) {
  return (
    account.openedAt !== undefined && record.firstSentAt > account.openedAt && account.wants(record)
  );
}
