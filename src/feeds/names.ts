/** The built-in feeds, under the names that `FEEDS` gives them: the paths of their streams, and the chat. */
export const FEED_NAMES = ['stream', 'events', 'counter', 'chat'] as const;

export type FeedName = (typeof FEED_NAMES)[number];
