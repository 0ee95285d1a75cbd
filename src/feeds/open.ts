import { type Chat, type ChatOptions, openChat } from './chat.js';
import { createClock, createLocalTime } from './clock.js';
import { createCounter } from './counter.js';
import type { Feed } from './feed.js';
import type { FeedName } from './names.js';

/** The feeds that are served. One that is off is not there. */
export interface Feeds {
  readonly stream: Feed | undefined;
  readonly events: Feed | undefined;
  readonly counter: Feed | undefined;
  readonly chat: Chat | undefined;
  /** Keeps what was accepted and lets go of the chat's journal. Streams are their owner's to end. */
  close(): Promise<void>;
}

/**
 * Opens the feeds with these names. A chat whose journal cannot be opened says so to its users; the other
 * feeds, and the hub, do not depend on it.
 */
export async function openFeeds(
  names: ReadonlySet<FeedName>,
  chatOptions: ChatOptions,
): Promise<Feeds> {
  const chat = names.has('chat') ? await openChat(chatOptions) : undefined;
  return {
    stream: names.has('stream') ? createClock() : undefined,
    events: names.has('events') ? createLocalTime() : undefined,
    counter: names.has('counter') ? createCounter() : undefined,
    chat,
    close: async () => chat?.close(),
  };
}
