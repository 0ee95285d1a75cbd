/** The server's built-in feeds that this page shows. */
export type Feed = 'stream' | 'counter' | 'chat';

const served = new Set(document.documentElement.dataset.feeds?.split(' '));

/** Whether the server serves a feed: it says so in the page. Style sheets hide what belongs to the others. */
export function isServed(feed: Feed): boolean {
  return served.has(feed);
}
