import type { IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { Audience } from './audience.js';
import { Backlog, type CutReason } from './backlog.js';
import type { AnyEvents } from './event-map.js';
import type { EventStream, StreamEnd } from './event-stream.js';
import { assertKnown, assertWholeNumber, MAX_TIMER_MS } from './options.js';

/** A request of `node:http`, of `node:http2`, or of a framework that builds on them. */
export type AnyRequest = IncomingMessage | Http2ServerRequest;

/** What the streams of `sse()`, or of `eventStreams()`, have in common. */
export interface SseOptions {
  /**
   * Milliseconds between heartbeat comments, which keep proxies from closing a quiet connection and
   * find out clients that vanished without a word. 0 sends none. Default: 15,000.
   */
  readonly heartbeatMs?: number;
  /**
   * Bytes held for a client that does not read, beside the one write that went over them. Default: 16 KiB.
   */
  readonly highWaterMark?: number;
  /**
   * Bytes held for all clients together that do not read; beyond it those that have not read for the longest time
   * are cut off. What several clients share counts once. 0 sets no limit. Default: 256 MiB.
   */
  readonly maxQueuedBytes?: number;
  /** Milliseconds after which a client that has read nothing is cut off. 0, the default, waits for ever. */
  readonly maxStalledMs?: number;
  /** Told of each client that is cut off, before it is. */
  readonly onCut?: (stream: EventStream, reason: CutReason) => void;
  /** Told of each stream that was sent to its client, when it closes: for logs. */
  readonly onClose?: (stream: EventStream, end: StreamEnd, req: AnyRequest) => void;
}

const OPTIONS: readonly (keyof SseOptions)[] = [
  'heartbeatMs',
  'highWaterMark',
  'maxQueuedBytes',
  'maxStalledMs',
  'onCut',
  'onClose',
];

/**
 * The streams that are open, with what they share: their heartbeats, and the bound of what is queued for them.
 *
 * @internal
 */
export class OpenStreams<Events extends object = AnyEvents> {
  readonly streams: Audience<Events>;
  readonly backlog: Backlog;
  /** Of each stream that is made for a request. */
  readonly highWaterMark: number;
  readonly #heartbeatMs: number;
  readonly #onClose: SseOptions['onClose'];
  /** One timer for all streams, running while there are any. */
  #heartbeat: NodeJS.Timeout | undefined;

  /**
   * @param of what has the options, as its caller knows it.
   * @param others the names of options that are not for the streams.
   * @throws {TypeError} for an option that there is not.
   * @throws {RangeError} if an option is no whole number in its range.
   */
  constructor(of: string, options: SseOptions, others: readonly string[] = []) {
    assertKnown(of, options, [...OPTIONS, ...others]);
    const { heartbeatMs = 15_000, highWaterMark = 16 * 1024 } = options;
    const { maxQueuedBytes = 256 * 1024 * 1024, maxStalledMs = 0, onCut, onClose } = options;
    assertWholeNumber('heartbeatMs', heartbeatMs, MAX_TIMER_MS);
    assertWholeNumber('highWaterMark', highWaterMark);
    assertWholeNumber('maxQueuedBytes', maxQueuedBytes);
    assertWholeNumber('maxStalledMs', maxStalledMs);
    this.#heartbeatMs = heartbeatMs;
    this.#onClose = onClose;
    this.highWaterMark = highWaterMark;
    this.backlog = new Backlog({ maxBytes: maxQueuedBytes, maxAgeMs: maxStalledMs, onCut });
    this.streams = new Audience<Events>({
      onEmpty: () => {
        clearInterval(this.#heartbeat);
        this.#heartbeat = undefined;
      },
    });
  }

  /** Adds a stream whose head leaves. */
  add(stream: EventStream): void {
    this.streams.add(stream as EventStream<Events>);
    if (this.#heartbeatMs === 0 || this.streams.size === 0) return;
    this.#heartbeat ??= setInterval(() => this.streams.comment(), this.#heartbeatMs).unref();
  }

  /** Tells that one of them closes. What a listener throws is no matter of whoever closes it. */
  tellEnd(stream: EventStream, end: StreamEnd, req: AnyRequest): void {
    if (this.#onClose) process.nextTick(this.#onClose, stream, end, req);
  }
}
