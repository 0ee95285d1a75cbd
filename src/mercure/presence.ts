import { randomUUID } from 'node:crypto';
import { MAX_TOPIC_BYTES } from '../hub/update.js';
import type { Update } from '../journal/journal.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selector } from '../topics/selector.js';
import { SUBSCRIPTIONS_PATH } from './paths.js';

/** One subscriber's interest in one selector, as the protocol writes it. */
export interface ActiveSubscription {
  /** The path of this subscription, which is also the topic under which its start and end are published. */
  readonly id: string;
  readonly type: 'Subscription';
  /** The selector. */
  readonly topic: string;
  readonly subscriber: string;
  readonly active: boolean;
  /** What the subscriber's token says of it. */
  readonly payload?: unknown;
}

/** Announcements that are published together. Publishers wait for no more than these. */
const MAX_AT_ONCE = 500;

/** Announcements that wait. A subscription that starts while there are more of them is listed, and not announced. */
const MAX_WAITING = 100_000;

/**
 * Who is subscribed to what on this process, for those whose token lets them know. Each start and end is
 * published as a private update.
 *
 * Anybody may subscribe, so announcements have a line of their own: some at a time, each batch when the one before
 * is in the journal. A subscription that has ended before its turn came is not announced at all.
 */
export class Presence {
  readonly #publish: (updates: readonly Update[]) => Promise<void>;
  readonly #active = new Map<string, ActiveSubscription>();
  /** What is to be announced, by the id of its subscription. */
  readonly #waiting = new Map<string, ActiveSubscription>();
  #announcing: Promise<void> | undefined;
  #isClosed = false;

  /**
   * @param publish publishes updates; a failure is its own to report.
   */
  constructor(publish: (updates: readonly Update[]) => Promise<void>) {
    this.#publish = publish;
  }

  /**
   * Notes a subscriber's selectors until its stream closes. Each is listed once its start is announced, and
   * until its end is: so the list changes together with the newest id.
   */
  start(stream: EventStream, selectors: readonly Selector[], payload: unknown): void {
    if (stream.destroyed) return;
    const subscriber = nameSubscriber();
    const topics = [...new Set(selectors.map(({ text }) => text))];
    const noted = topics.map((topic): ActiveSubscription => {
      const id = this.pathOf(topic, subscriber);
      const told = payload === undefined ? {} : { payload };
      return { id, type: 'Subscription', topic, subscriber, active: true, ...told };
    });
    if (this.#waiting.size >= MAX_WAITING) {
      for (const subscription of noted) this.#active.set(subscription.id, subscription);
      stream.on('close', () => {
        for (const { id } of noted) this.#active.delete(id);
      });
      return;
    }
    for (const subscription of noted) this.#announce(subscription);
    stream.on('close', () => {
      for (const subscription of noted) this.#end(subscription);
    });
  }

  /** Announces no more: what waits is given up. For the end of the process, when all subscriptions end. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.clear();
  }

  /** The path of all subscriptions, of a selector's, or of one subscriber's to a selector. */
  pathOf(...segments: string[]): string {
    return [SUBSCRIPTIONS_PATH, ...segments.map(encodeURIComponent)].join('/');
  }

  /** Whether the announcements of a subscription to a selector can be published. */
  canAnnounce(selector: string): boolean {
    return encodeURIComponent(selector).length <= this.maxSelectorBytes;
  }

  /** How long a selector may be, percent-encoded. */
  get maxSelectorBytes(): number {
    return MAX_TOPIC_BYTES - this.pathOf('', nameSubscriber()).length;
  }

  /** The active subscriptions; those that come while they are being gone through as well. */
  list(): IterableIterator<ActiveSubscription> {
    return this.#active.values();
  }

  get(topic: string, subscriber: string): ActiveSubscription | undefined {
    return this.#active.get(this.pathOf(topic, subscriber));
  }

  #end(subscription: ActiveSubscription): void {
    const { id } = subscription;
    // If its start still waits, nobody has to know of either.
    if (!this.#waiting.delete(id)) this.#announce({ ...subscription, active: false });
  }

  #announce(subscription: ActiveSubscription): void {
    if (this.#isClosed) return;
    this.#waiting.set(subscription.id, subscription);
    this.#announcing ??= this.#announceWaiting();
  }

  async #announceWaiting(): Promise<void> {
    await undefined; // All of this turn's together.
    while (this.#waiting.size > 0) {
      const batch: ActiveSubscription[] = [];
      for (const [id, subscription] of this.#waiting) {
        if (batch.length === MAX_AT_ONCE) break;
        this.#waiting.delete(id);
        batch.push(subscription);
      }
      await this.#publish(batch.map(toUpdate));
      for (const subscription of batch) {
        if (subscription.active) this.#active.set(subscription.id, subscription);
        else this.#active.delete(subscription.id);
      }
    }
    this.#announcing = undefined;
  }
}

function toUpdate(subscription: ActiveSubscription): Update {
  const data = JSON.stringify(subscription);
  return { topics: [subscription.id], data, private: true, transient: true };
}

function nameSubscriber(): string {
  return `urn:uuid:${randomUUID()}`;
}
