import { performance } from 'node:perf_hooks';
import { TextDecoder } from 'node:util';
import type { AnyEvents, EventOf } from './event-map.js';
import type { EventStream } from './event-stream.js';
import type { SseEvent } from './frame.js';

/** What a source yields: an event, or the data of one as text or as bytes of UTF-8. */
export type SourceItem<Events extends object = AnyEvents> = EventOf<Events> | string | Uint8Array;

/** Where events come from: an array, a generator, an async generator, a `Readable`, a web `ReadableStream`. */
export type EventStreamSource<Events extends object = AnyEvents> =
  | Iterable<SourceItem<Events>>
  | AsyncIterable<SourceItem<Events>>;

/** A source that never waits leaves the event loop to others after so long. */
const SLICE_MS = 5;

/**
 * Sends all that a source yields, and reads it no faster than the client reads. When the client leaves, the source is
 * closed at once, also while its next item is waited for.
 *
 * @returns whether the source has come to its end; `false` if the stream has closed before.
 * @throws what the source throws, or what is wrong with an item; the source is closed then.
 */
export async function sendAll(stream: EventStream, source: EventStreamSource): Promise<boolean> {
  const iterator = open(source);
  const decoder = new TextDecoder();
  let isOpen = true;
  let stopWaiting: (() => void) | undefined;
  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    stopWaiting?.();
    closeSource(source, iterator);
  };
  // No race with a promise of the stream's end: each would be kept there until the stream ends.
  const next = () =>
    new Promise<IteratorResult<SourceItem> | undefined>((resolve, reject) => {
      stopWaiting = () => resolve(undefined);
      Promise.resolve(iterator.next()).then(resolve, reject);
    });

  stream.once('close', close);
  try {
    let sliceStart = performance.now();
    while (isOpen && stream.writable) {
      const result = await next();
      if (result === undefined) return false;
      if (result.done) {
        isOpen = false;
        const rest = decoder.decode();
        return rest === '' || (await stream.send({ data: rest }));
      }
      const event = eventOf(await result.value, decoder);
      if (event !== undefined) await stream.send(event);
      if (performance.now() - sliceStart < SLICE_MS) continue;
      await new Promise(setImmediate);
      sliceStart = performance.now();
    }
    return false;
  } finally {
    stream.off('close', close);
    close();
  }
}

function open(source: EventStreamSource): AsyncIterator<SourceItem> | Iterator<SourceItem> {
  if (typeof source === 'object' && source !== null) {
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source && !ArrayBuffer.isView(source)) return source[Symbol.iterator]();
  }
  throw new TypeError(
    'A source is an iterable, an async iterable or a Readable of events or texts; one event or text is for send().',
  );
}

/** Its errors concern nobody any more. */
function closeSource(source: EventStreamSource, iterator: ReturnType<typeof open>): void {
  // A `Readable` that is destroyed lets go of what it waits for; `return` would wait for that.
  if ('destroy' in source && typeof source.destroy === 'function') source.destroy();
  const closing = async () => iterator.return?.();
  closing().catch(ignore);
}

function eventOf(item: SourceItem, decoder: TextDecoder): SseEvent | undefined {
  if (typeof item === 'string') return { data: item };
  if (item instanceof Uint8Array) {
    const data = decoder.decode(item, { stream: true });
    return data === '' ? undefined : { data }; // A part of a character: the rest is yet to come.
  }
  if (typeof item === 'object' && item !== null) return item;
  throw new TypeError(
    `A source yields events, texts or bytes, not ${item === null ? 'null' : typeof item}.`,
  );
}

function ignore(): void {}
