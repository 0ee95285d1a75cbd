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

/** Stands among what an account has received: before it the service has said that updates are missing. */
class Gap {
  constructor(oldest) {
    this.oldest = oldest;
  }
}

/** The same: after it the account may get again what it had. */
const MAY_REPEAT = Symbol('may repeat');

/** The reference's order is cut off before what every subscriber has passed, in steps of so many. */
const PRUNE = 20_000;

export class Ledger {
  /** Published to received, by all and by each subscriber that is always there. */
  latency = new Samples();
  latencies = new Map();
  /** Published to answered. */
  acknowledged = new Samples();
  /** Each request of a publisher to its answer, whatever that was. */
  answered = new Samples();
  counts = {
    published: 0,
    acknowledged: 0,
    received: 0,
    skipped: 0,
    retried: 0,
    cut: 0,
    refused: 0,
    unanswered: 0,
    gaps: 0,
    told: 0,
    repeated: 0,
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
  /** The newest position that the reference has seen. */
  #position;

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
      id: undefined,
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
    const account = {
      name,
      wants,
      isReference,
      openedAt: undefined,
      place: 0,
      received: [],
      gap: undefined,
      mayRepeat: false,
    };
    this.#accounts.push(account);
    return account;
  }

  /** A publisher was answered that these are published, under these ids. */
  acknowledge(records, ids) {
    this.counts.acknowledged += records.length;
    records.forEach((record, index) => {
      record.isAcknowledged = true;
      this.#identify(record, ids[index], 'its publisher');
    });
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
    this.#identify(record, id, account.name);
    if (!account.isReference) {
      account.received.push(record);
    } else if (record.place !== undefined) {
      this.fail('repeated', `${account.name} got ${id} again`);
    } else {
      this.#position = positionOf(id) ?? this.#position;
      record.position = this.#position;
      record.place = this.#offset + this.#order.length;
      this.#order.push(record);
    }
  }

  /**
   * A subscriber was told that updates before the next of its own are no longer held.
   *
   * @param oldest the position of the oldest update that was held then; null for none. What is newer is owed.
   */
  enterGap(account, oldest) {
    this.counts.gaps += 1;
    account.received.push(new Gap(positionOf(oldest ?? '')));
  }

  /** A subscriber came back with an id that several updates have: from the oldest of them on, all come again. */
  allowRepeats(account) {
    account.received.push(MAY_REPEAT);
  }

  /** How long an update was on its way to a subscriber that is always there. */
  received(name, milliseconds) {
    this.latency.record(milliseconds);
    let own = this.latencies.get(name);
    if (own === undefined) {
      own = new Samples();
      this.latencies.set(name, own);
    }
    own.record(milliseconds);
  }

  /** Compares what was received so far with the order. */
  check() {
    for (const account of this.#accounts) {
      let checked = 0;
      for (const record of account.received) {
        if (record instanceof Gap) account.gap = record;
        else if (record === MAY_REPEAT) account.mayRepeat = true;
        else if (record.place === undefined)
          break; // The reference is behind.
        else this.#compare(account, record);
        checked += 1;
      }
      if (checked > 0) account.received.splice(0, checked);
      if (account.isReference) account.place = this.#end;
    }
    this.#prune();
  }

  /**
   * Compares what a node has in its journal with the order.
   *
   * @param updates a record and the id that it has there, of each update, in the journal's order.
   */
  compare(name, updates) {
    for (const { record, id } of updates) this.#identify(record, id, name);
    const records = updates.map(({ record }) => record);
    // The first ones may be older than the reference, or cut off from the order; the oldest of it may be trimmed.
    const first = records.findIndex(({ place }) => place !== undefined);
    const held = first === -1 ? [] : records.slice(first).slice(-this.#order.length);
    const expected = this.#order.slice(-held.length);
    const wrong = expected.findIndex((record, index) => record !== held[index]);
    if (wrong !== -1 || held.length === 0) {
      this.fail(
        'the journal is not what was told',
        `${name} has update ${held[wrong]?.number}, not ${expected[wrong]?.number}, as number ${wrong + 1} of ${held.length}`,
      );
    }
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

  #compare(account, record) {
    if (record.place >= account.place) {
      this.#expectNothing(account, record.place);
      account.place = record.place + 1;
      account.gap = undefined;
      account.mayRepeat = false;
    } else if (account.mayRepeat) {
      this.counts.repeated += 1;
    } else {
      this.fail('repeated or out of order', `${account.name} got update ${record.number}`);
    }
  }

  get #end() {
    return this.#offset + this.#order.length;
  }

  /** An update has the same id for everybody: publishers, subscribers, and each node. */
  #identify(record, id, who) {
    record.id ??= id;
    if (record.id !== id) this.fail('another id', `${who} was told ${id}, not ${record.id}`);
  }

  /** Between what an account had and a place there must be nothing that it should have had. */
  #expectNothing(account, end) {
    for (let place = account.place; place < end; place++) {
      const record = this.#order[place - this.#offset];
      if (!isOwed(account, record)) continue;
      if (isTold(account, record)) {
        this.counts.told += 1;
      } else {
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
        if (isOwed(account, record) && !isTold(account, record) && !waiting.has(record))
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

/** Whether the service has said that it no longer held an update, and it was older than what was held. */
function isTold({ gap }, { position }) {
  if (gap === undefined) return false;
  if (gap.oldest === undefined || position === undefined) return true;
  const [epoch, sequence] = position;
  return epoch < gap.oldest[0] || (epoch === gap.oldest[0] && sequence < gap.oldest[1]);
}

/** The epoch and the sequence of an id that the hub has made; undefined for a publisher's own. */
export function positionOf(id) {
  const match = /^(\d+)-(\d+)$/.exec(id);
  return match === null ? undefined : match.slice(1).map(Number);
}
