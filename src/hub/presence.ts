import { randomUUID } from 'node:crypto';
import type { Update } from '../journal/journal.js';
import type { EventStream } from '../sse/event-stream.js';
import type { Selector } from '../topics/selector.js';
import { MAX_TOPIC_BYTES } from './update.js';

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

/**
 * Who is subscribed to what on this process, for those whose token lets them know. Each start and end is
 * published as a private update.
 */
export class Presence {
  readonly #path: string;
  readonly #publish: (updates: readonly Update[]) => Promise<void>;
  readonly #active = new Map<string, ActiveSubscription>();

  /**
   * @param path the path under which subscriptions are found.
   * @param publish publishes updates; a failure is its own to report.
   */
  constructor(path: string, publish: (updates: readonly Update[]) => Promise<void>) {
    this.#path = path;
    this.#publish = publish;
  }

  /**
   * Notes a subscriber's selectors until its stream closes. Each is listed once its start is announced, and
   * until its end is: so the list changes together with the newest id.
   */
  async start(
    stream: EventStream,
    selectors: readonly Selector[],
    payload: unknown,
  ): Promise<void> {
    const subscriber = nameSubscriber();
    const topics = [...new Set(selectors.map(({ text }) => text))];
    const noted = topics.map((topic): ActiveSubscription => {
      const id = this.pathOf(topic, subscriber);
      const told = payload === undefined ? {} : { payload };
      return { id, type: 'Subscription', topic, subscriber, active: true, ...told };
    });
    const started = this.#announce(noted);
    stream.on('close', async () => {
      await started;
      await this.#announce(noted.map((subscription) => ({ ...subscription, active: false })));
      for (const { id } of noted) this.#active.delete(id);
    });
    await started;
    for (const subscription of noted) this.#active.set(subscription.id, subscription);
  }

  /** Whether the announcements of a subscription to a selector can be published. */
  canAnnounce(selector: string): boolean {
    return encodeURIComponent(selector).length <= this.maxSelectorBytes;
  }

  /** How long a selector may be, percent-encoded. */
  get maxSelectorBytes(): number {
    return MAX_TOPIC_BYTES - this.pathOf('', nameSubscriber()).length;
  }

  /** The path of all subscriptions, of a selector's, or of one subscriber's to a selector. */
  pathOf(...segments: string[]): string {
    return [this.#path, ...segments.map(encodeURIComponent)].join('/');
  }

  /** The active subscriptions; to one selector if it is given. */
  list(topic?: string): ActiveSubscription[] {
    const all = [...this.#active.values()];
    return topic === undefined ? all : all.filter((subscription) => subscription.topic === topic);
  }

  get(topic: string, subscriber: string): ActiveSubscription | undefined {
    return this.#active.get(this.pathOf(topic, subscriber));
  }

  #announce(subscriptions: readonly ActiveSubscription[]): Promise<void> {
    return this.#publish(
      subscriptions.map((subscription) => ({
        topics: [subscription.id],
        data: JSON.stringify(subscription),
        private: true,
        transient: true,
      })),
    );
  }
}

function nameSubscriber(): string {
  return `urn:uuid:${randomUUID()}`;
}
