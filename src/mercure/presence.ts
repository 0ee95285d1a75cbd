import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { MAX_TOPIC_BYTES } from '../hub/update.js';
import {
  type AppendKey,
  type AppendOptions,
  type EntryRef,
  JournalError,
  type Update,
} from '../journal/journal.js';
import { MemoryRoster } from '../journal/memory/roster.js';
import type { Departure, Roster, RosterEntry, Subscriber } from '../journal/roster.js';
import { type Log, toConsole } from '../log.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selector } from '../topics/selector.js';
import { SUBSCRIPTIONS_PATH } from './paths.js';

/** One subscriber's interest in one selector, as the protocol writes it. */
export interface SubscriptionDocument {
  /** The path of this subscription, which is also the topic under which its start and end are published. */
  readonly id: string;
  /** The same for all. */
  readonly type: 'Subscription';
  /** The selector. */
  readonly topic: string;
  /** The subscriber's name, another one for each stream. */
  readonly subscriber: string;
  /** Whether it is open; false in the announcement of its end. */
  readonly active: boolean;
  /** What the subscriber's token says of it. */
  readonly payload?: unknown;
}

/** Where presence notes and announces subscriptions. */
export interface PresenceOptions {
  /** Publishes updates, as `hub.publish` does. */
  readonly publish: (
    updates: readonly Update[],
    options: AppendOptions,
  ) => Promise<readonly EntryRef[]>;
  /** Resolves when these are delivered, as `hub.delivered` does: others wait behind them. Default: they are at once. */
  readonly delivered?: (refs: readonly EntryRef[]) => Promise<void>;
  /** Where it is noted who is subscribed, and what presence is to be closed before. Default: one of this process alone. */
  readonly roster?: Roster;
  /** Told what an operator should know, which may happen many times in a row. Default: its message to `console.error`. */
  readonly log?: Log;
}

/**
 * Announcements that are published together, at first and at most: as many as are delivered in `BATCH_MS`, since the
 * updates of publishers wait behind them. Those of one client are always together.
 */
const FIRST_AT_ONCE = 100;
const MAX_AT_ONCE = 500;
const BATCH_MS = 20;

/** Announcements that wait. A subscription that starts while there are more of them is listed, and not announced. */
const MAX_WAITING = 100_000;

/**
 * Bytes that the subscriptions of clients without a token take in the roster. Those that start while there are more of
 * them are neither listed nor announced. Anybody may have a hundred selectors of a thousand bytes in each stream.
 */
const MAX_ANONYMOUS_BYTES = 32 * 1024 * 1024;
/** What a subscription takes beside its selector. */
const SUBSCRIPTION_BYTES = 100;

/** After a batch that took longer there is none for as long as it took, and no longer than this. */
const MAX_REST_MS = 1_000;

/** How long it takes until announcements that could not be published are tried again. */
const RETRY_MS = 1_000;

/**
 * Who is subscribed to what, for those whose token lets them know. Each start and end is published as a private
 * update, after the roster has it: so a list is never older than the newest update that its reader has seen.
 *
 * Anybody may subscribe, so announcements have a line of their own: some at a time, each batch when the one before
 * is delivered. A subscription that has ended before its turn came is not announced at all.
 */
export class Presence {
  readonly #publish: PresenceOptions['publish'];
  readonly #delivered: NonNullable<PresenceOptions['delivered']>;
  readonly #log: Log;
  readonly #roster: Roster;
  /** The open streams that are in the roster, or wait for that. */
  readonly #attendances = new Set<Attendance>();
  /** Those whose start or end is to be noted and announced, in the order in which they came. */
  readonly #waiting = new Set<Attendance>();
  #waitingAnnouncements = 0;
  #anonymousBytes = 0;
  #atOnce = FIRST_AT_ONCE;
  /** How long it took to deliver the last batch. */
  #deliveryMs = 0;
  #noting: Promise<void> | undefined;
  /** When the announcements so far are published. */
  #announced: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  /** @param options where it notes and announces subscriptions. */
  constructor({
    publish,
    delivered = async () => undefined,
    roster = new MemoryRoster(),
    log = toConsole,
  }: PresenceOptions) {
    this.#publish = publish;
    this.#delivered = delivered;
    this.#roster = roster;
    this.#log = log;
    roster.watch({
      left: (departure) => this.#left(departure),
      expelled: () => this.#expelled(),
    });
  }

  /** Notes a subscriber's selectors until its stream closes. Without a token it is anonymous. */
  start(
    stream: EventStream,
    selectors: readonly Selector[],
    grants: { readonly payload: unknown } | undefined,
  ): void {
    if (stream.destroyed || this.#isClosed) return;
    const topics = [...new Set(selectors.map(({ text }) => text))];
    const bytes = grants === undefined ? bytesOf(topics) : 0;
    if (bytes > 0 && this.#anonymousBytes + bytes > MAX_ANONYMOUS_BYTES) {
      this.#log({
        level: 'warn',
        event: 'subscriptions-unlisted',
        message: 'Clients without a token have more subscriptions than are listed.',
      });
      return;
    }
    this.#anonymousBytes += bytes;
    const attendance: Attendance = {
      subscriber: { name: nameSubscriber(), selectors: topics, payload: grants?.payload },
      isOpen: true,
      isNoted: false,
      isAnnounced: this.#waitingAnnouncements < MAX_WAITING,
    };
    this.#attendances.add(attendance);
    this.#wait(attendance);
    stream.on('close', () => {
      attendance.isOpen = false;
      this.#anonymousBytes -= bytes;
      this.#attendances.delete(attendance);
      // If its start still waits, nobody has to know of either.
      const isUnknown = !attendance.isNoted && this.#waiting.has(attendance);
      if (isUnknown) this.#take(attendance);
      else this.#wait(attendance);
    });
  }

  /**
   * How many open streams are listed or about to be, and how many starts and ends wait to be announced.
   *
   * @internal
   */
  get statistics(): { readonly subscribers: number; readonly waiting: number } {
    return { subscribers: this.#attendances.size, waiting: this.#waiting.size };
  }

  /** Announces no more: what waits is given up. For the end of the process, when all subscriptions end. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.clear();
  }

  /** The path of all subscriptions, of a selector's, or of one subscriber's to a selector. */
  pathOf(...segments: string[]): string {
    return pathOf(...segments);
  }

  /** Whether the announcements of a subscription to a selector can be published. */
  canAnnounce(selector: string): boolean {
    return encodeURIComponent(selector).length <= this.maxSelectorBytes;
  }

  /** How long a selector may be, percent-encoded. */
  get maxSelectorBytes(): number {
    return MAX_TOPIC_BYTES - pathOf('', nameSubscriber()).length;
  }

  /**
   * The active subscriptions, or those to a selector, in pages; those that come meanwhile may be among them.
   *
   * @throws {JournalError} ERR_JOURNAL_UNAVAILABLE.
   */
  async *list(selector?: string): AsyncGenerator<SubscriptionDocument[]> {
    for await (const page of this.#roster.list(selector)) {
      yield page.map((entry) => toDocument(entry, true));
    }
  }

  /**
   * One of them.
   *
   * @throws {JournalError} ERR_JOURNAL_UNAVAILABLE.
   */
  async get(selector: string, subscriber: string): Promise<SubscriptionDocument | undefined> {
    const entry = await this.#roster.get(selector, subscriber);
    return entry && toDocument(entry, true);
  }

  async #left({ key, ended, active, otherKey }: Departure): Promise<void> {
    const ends = (entries: readonly RosterEntry[]) =>
      entries.map((entry) => toUpdate(entry, false));
    const isTaken = !(await this.#announce(ends([...ended, ...active]), keyOf(key, 'left')));
    if (isTaken && active.length > 0) await this.#announce(ends(active), keyOf(otherKey, 'left'));
  }

  #expelled(): void {
    for (const attendance of this.#waiting) attendance.isNoted = false;
    for (const attendance of this.#attendances) {
      // Whoever has been told that the one has ended is told of another one.
      attendance.subscriber = { ...attendance.subscriber, name: nameSubscriber() };
      attendance.isNoted = false;
      this.#wait(attendance);
    }
  }

  #wait(attendance: Attendance): void {
    if (this.#isClosed || this.#waiting.has(attendance)) return;
    this.#waiting.add(attendance);
    this.#waitingAnnouncements += announcementsOf(attendance);
    this.#noting ??= this.#noteWaiting();
  }

  #take(attendance: Attendance): void {
    this.#waiting.delete(attendance);
    this.#waitingAnnouncements -= announcementsOf(attendance);
  }

  async #noteWaiting(): Promise<void> {
    await undefined; // All of this turn's together.
    try {
      while (this.#waiting.size > 0) {
        await this.#noteBatch(this.#takeBatch());
        await this.#rest();
      }
    } catch (error) {
      if (!this.#isClosed) {
        this.#log({
          level: 'error',
          event: 'subscriptions-failed',
          message: `Subscriptions cannot be listed. ${String(error)}`,
          error,
        });
      }
    } finally {
      this.#noting = undefined;
    }
  }

  /** Takes more or fewer the next time, and leaves half of the time to others. */
  async #rest(): Promise<void> {
    const tookMs = this.#deliveryMs;
    this.#deliveryMs = 0;
    if (tookMs <= BATCH_MS) {
      this.#atOnce = Math.min(2 * this.#atOnce, MAX_AT_ONCE);
    } else {
      this.#atOnce = Math.max(this.#atOnce / 2, 1);
      await delay(Math.min(tookMs, MAX_REST_MS), undefined, { ref: false });
    }
  }

  #takeBatch(): Attendance[] {
    const batch: Attendance[] = [];
    let size = 0;
    for (const attendance of this.#waiting) {
      size += attendance.subscriber.selectors.length;
      if (size > this.#atOnce && batch.length > 0) break;
      this.#take(attendance);
      batch.push(attendance);
    }
    return batch;
  }

  async #noteBatch(batch: readonly Attendance[]): Promise<void> {
    const starts = batch.filter(({ isOpen, isNoted }) => isOpen && !isNoted);
    const ends = batch.filter(({ isOpen, isNoted }) => !isOpen && isNoted);
    if (starts.length === 0 && ends.length === 0) return;
    const result = await this.#roster.note(starts.map(subscriberOf), ends.map(subscriberOf));
    if (!result.noted) return; // Those that are here still have been told to wait again.
    for (const attendance of starts) attendance.isNoted = true;
    for (const attendance of ends) attendance.isNoted = false;
    const updates = [
      ...ends.flatMap((attendance) => announcements(attendance, false)),
      ...starts.flatMap((attendance) => announcements(attendance, true)),
    ];
    if (updates.length > 0) {
      // If the key is taken, this node was taken for dead, and soon knows it.
      const { key } = result;
      await this.#announce(updates, key === undefined ? undefined : keyOf(key, 'noted'));
    }
    this.#roster.settle();
  }

  /** Publishes announcements, one batch after the other. Returns whether it has: else the key is taken. */
  #announce(updates: readonly Update[], key: AppendKey | undefined): Promise<boolean> {
    const announced = this.#announced.then(() => this.#publishAll(updates, key));
    this.#announced = announced.catch(() => undefined);
    return announced;
  }

  /**
   * If others share the roster, tries until it has succeeded: nobody would find out that these are missing.
   *
   * @throws {Error} presence is closed before.
   */
  async #publishAll(updates: readonly Update[], key: AppendKey | undefined): Promise<boolean> {
    while (!this.#isClosed) {
      try {
        const refs = await this.#publish(updates, { key });
        const begun = performance.now();
        await this.#delivered(refs);
        this.#deliveryMs = performance.now() - begun;
        return true;
      } catch (error) {
        const isOfJournal = error instanceof JournalError;
        if (isOfJournal && error.code === 'ERR_KEY_TAKEN') return false;
        this.#log({
          level: 'error',
          event: 'subscriptions-failed',
          message: `Subscriptions cannot be announced. ${String(error)}`,
          error,
        });
        if (key === undefined || !isOfJournal) return true;
        await delay(RETRY_MS, undefined, { ref: false });
      }
    }
    throw new Error('Presence is closed.');
  }
}

/** A stream, from its start until its end is announced. */
interface Attendance {
  /** What the roster has of it, or will have. */
  subscriber: Subscriber;
  isOpen: boolean;
  /** Whether the roster has it. */
  isNoted: boolean;
  /** Whether its start and end are told, beside being listed. */
  readonly isAnnounced: boolean;
}

function subscriberOf({ subscriber }: Attendance): Subscriber {
  return subscriber;
}

function announcementsOf({ isAnnounced, subscriber }: Attendance): number {
  return isAnnounced ? subscriber.selectors.length : 0;
}

function announcements({ subscriber, isAnnounced }: Attendance, active: boolean): Update[] {
  if (!isAnnounced) return [];
  const { name, selectors, payload } = subscriber;
  return selectors.map((selector) => toUpdate({ selector, subscriber: name, payload }, active));
}

function toUpdate(entry: RosterEntry, active: boolean): Update {
  const document = toDocument(entry, active);
  const data = JSON.stringify(document);
  return { topics: [document.id], data, private: true, transient: true };
}

function toDocument(entry: RosterEntry, active: boolean): SubscriptionDocument {
  const { selector, subscriber, payload } = entry;
  const id = pathOf(selector, subscriber);
  const told = payload === undefined ? {} : { payload };
  return { id, type: 'Subscription', topic: selector, subscriber, active, ...told };
}

function pathOf(...segments: string[]): string {
  return [SUBSCRIPTIONS_PATH, ...segments.map(encodeURIComponent)].join('/');
}

function bytesOf(selectors: readonly string[]): number {
  return selectors.reduce(
    (sum, text) => sum + encodeURIComponent(text).length + SUBSCRIPTION_BYTES,
    0,
  );
}

/** Under one key, a node publishes what it has noted, or another one what it has left. */
function keyOf(key: string, digest: 'noted' | 'left'): AppendKey {
  return { key, digest, publisher: 'subscriptions' };
}

function nameSubscriber(): string {
  return `urn:uuid:${randomUUID()}`;
}
