import type { IncomingMessage, ServerResponse } from 'node:http';

/** A request and its response. A Koa context is one, too. */
export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

/** Whether a request's `Accept` allows an event stream, which it does by saying nothing. */
export function acceptsEventStream({ headers: { accept = '' } }: IncomingMessage): boolean {
  if (accept === 'text/event-stream' || accept === '') return true; // What browsers send, first.
  let isAccepted = false;
  let bestRank = 0;
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    // "Media ranges can be overridden by more specific media ranges or specific media types."
    const rank = RANGES.indexOf(type) + 1;
    if (rank <= bestRank) continue;
    bestRank = rank;
    // "A value of 0 means 'not acceptable'."
    isAccepted = !parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter));
  }
  return isAccepted;
}

/** What a request is told that does not. */
export const NOT_ACCEPTABLE = 'This is an event stream: accept text/event-stream to read it.';

/** The media ranges that an event stream is in, the most specific last. */
const RANGES = ['*/*', 'text/*', 'text/event-stream'];

/**
 * The id of the last event this client saw: the header that browsers send when they reconnect, else the
 * query parameter for those that cannot set one. Empty if there is neither.
 */
export function readLastEventId({ headers, url = '' }: IncomingMessage): string {
  // Browsers send the id's UTF-8 bytes; Node reads header values as Latin-1.
  const header = Buffer.from(String(headers['last-event-id'] ?? ''), 'latin1').toString();
  if (header !== '') return header;
  const query = url.indexOf('?');
  if (query === -1) return '';
  return new URLSearchParams(url.slice(query + 1)).get('lastEventID') ?? '';
}
