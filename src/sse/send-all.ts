import type { AnyEvents, EventOf } from './event-map.js';
import type { EventStream } from './event-stream.js';
import type { SseEvent } from './frame.js';
import { type AnySource, SourceReader } from './source.js';

/** What a source yields: an event, or the data of one as text or as bytes of UTF-8. */
export type SourceItem<Events extends object = AnyEvents> = EventOf<Events> | string | Uint8Array;

/** Where events come from: an array, a generator, an async generator, a `Readable`, a web `ReadableStream`. */
export type EventStreamSource<Events extends object = AnyEvents> = AnySource<SourceItem<Events>>;

/**
 * Sends all that a source yields, and reads it no faster than the client reads. When the client leaves, the source is
 * closed at once, also while its next item is waited for.
 *
 * @returns whether the source has come to its end; `false` if the stream has closed before.
 * @throws what the source throws, or what is wrong with an item; the source is closed then.
 */
export async function sendAll(stream: EventStream, source: EventStreamSource): Promise<boolean> {
  const reader = new SourceReader(source);
  const close = () => reader.close();
  stream.once('close', close);
  if (!stream.writable) close();
  try {
    return await reader.read((item) => {
      const taken = stream.send(eventOf(item));
      if (!stream.writable) close();
      return stream.stalled ? taken : undefined;
    });
  } finally {
    stream.off('close', close);
    close();
  }
}

function eventOf(item: Exclude<SourceItem, Uint8Array>): SseEvent {
  if (typeof item === 'string') return { data: item };
  if (typeof item === 'object' && item !== null) return item;
  throw new TypeError(
    `A source yields events, texts or bytes, not ${item === null ? 'null' : typeof item}.`,
  );
}
