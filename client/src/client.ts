/** What an {@link SseClient} is doing now. */
export type SseState =
  /** A request is under way: the first one, or one by which the browser reconnects by itself. */
  | 'connecting'
  /** The server has answered; events arrive as it sends them. */
  | 'open'
  /** The browser has given up; a new request follows after a delay. */
  | 'waiting'
  /** `close()` was called. Nothing happens any more. */
  | 'closed';

export interface SseClientOptions {
  /** Send cookies to another origin. Default: false. */
  withCredentials?: boolean;
  /** Upper bound of the first delay, in milliseconds; it doubles with each failure. Default: 1,000. */
  minRetryMs?: number;
  /** Upper bound of every later delay, in milliseconds. Default: 30,000. */
  maxRetryMs?: number;
}

/** Events about the connection. Every other type names events that the server sends. */
type ConnectionEvent = 'open' | 'error' | 'statechange';
type SseEvent<Type extends string> = Type extends ConnectionEvent ? Event : MessageEvent<string>;
type SseListener<Type extends string> =
  | ((event: SseEvent<Type>) => void)
  | { handleEvent(event: SseEvent<Type>): void };

const connectionEvents: ReadonlySet<string> = new Set<ConnectionEvent>([
  'open',
  'error',
  'statechange',
]);

/**
 * An `EventSource` that does not give up.
 *
 * The browser's own reconnects by itself after a lost connection, but any answer other than 200
 * closes it for good, and a proxy in front of a restarting server answers 502. This class then
 * opens a new one after a random delay and tells the server the last id it has seen, so that the
 * server can replay what was missed.
 *
 * ```ts
 * const client = new SseClient('/stream');
 * client.addEventListener('currentTime', (event) => console.log(event.data));
 * client.addEventListener('statechange', () => console.log(client.state));
 * ```
 *
 * - `message`: an event without a type. Any other type, such as `currentTime`: events of that type.
 * - `open`: the server has answered, first or again.
 * - `error`: the connection failed. No action is needed: the client is already reconnecting.
 * - `statechange`: `state` has changed. It comes before the `open` or `error` that goes with it.
 *
 * It needs no DOM, so it works in a worker as well.
 */
export class SseClient extends EventTarget {
  readonly #url: URL;
  readonly #withCredentials: boolean;
  readonly #minRetryMs: number;
  readonly #maxRetryMs: number;
  /** The types somebody has asked for: each is registered once per underlying EventSource. */
  readonly #types = new Set<string>();

  #source: EventSource | undefined;
  #sourceHasSentId = false;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #opens = 0;
  #state: SseState = 'connecting';
  #lastEventId = '';

  constructor(url: string | URL, options: SseClientOptions = {}) {
    super();
    this.#url = new URL(url, location.href);
    this.#withCredentials = options.withCredentials ?? false;
    this.#minRetryMs = options.minRetryMs ?? 1_000;
    this.#maxRetryMs = options.maxRetryMs ?? 30_000;
    this.#connect();
  }

  get state(): SseState {
    return this.#state;
  }

  /** How many times the stream was opened again after its first opening. */
  get reconnects(): number {
    return Math.max(0, this.#opens - 1);
  }

  /** The id of the last event that was delivered to a listener; empty while there is none. */
  get lastEventId(): string {
    return this.#lastEventId;
  }

  override addEventListener<Type extends string>(
    type: Type,
    listener: SseListener<Type> | null,
    options?: boolean | AddEventListenerOptions,
  ): void {
    super.addEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
    if (connectionEvents.has(type) || this.#types.has(type)) return;
    this.#types.add(type);
    this.#source?.addEventListener(type, this.#forward);
  }

  override removeEventListener<Type extends string>(
    type: Type,
    listener: SseListener<Type> | null,
    options?: boolean | EventListenerOptions,
  ): void {
    super.removeEventListener(type, listener as EventListenerOrEventListenerObject | null, options);
  }

  /** Ends the stream and every attempt to open it again. */
  close(): void {
    this.#release();
    this.#changeState('closed');
  }

  #connect(): void {
    const url = new URL(this.#url);
    // Only the browser can set the Last-Event-ID header, and a new EventSource does not know the
    // id. The server reads the header first, so this query does no harm once the header is there.
    if (this.#lastEventId !== '') url.searchParams.set('lastEventID', this.#lastEventId);

    const source = new EventSource(url, { withCredentials: this.#withCredentials });
    this.#source = source;
    this.#sourceHasSentId = false;
    source.addEventListener('open', this.#onOpen);
    source.addEventListener('error', this.#onError);
    for (const type of this.#types) source.addEventListener(type, this.#forward);
    this.#changeState('connecting');
  }

  #onOpen = (event: Event): void => {
    // A server may name its own event `open` or `error`; that says nothing about the connection.
    if (event instanceof MessageEvent) return;
    this.#failures = 0;
    this.#opens += 1;
    this.#changeState('open');
    this.dispatchEvent(new Event('open'));
  };

  #onError = (event: Event): void => {
    if (event instanceof MessageEvent) return;
    if (this.#source?.readyState === EventSource.CLOSED) {
      this.#release();
      this.#retryTimer = setTimeout(() => this.#connect(), this.#nextDelayMs());
      this.#changeState('waiting');
    } else {
      this.#changeState('connecting');
    }
    this.dispatchEvent(new Event('error'));
  };

  #forward = (event: MessageEvent<string>): void => {
    // Until a new EventSource has met an id, its empty one means "unchanged"; after that, an empty
    // one is the server's wish to forget it.
    if (event.lastEventId !== '') this.#sourceHasSentId = true;
    if (this.#sourceHasSentId) this.#lastEventId = event.lastEventId;
    this.dispatchEvent(
      new MessageEvent(event.type, {
        data: event.data,
        lastEventId: this.#lastEventId,
        origin: event.origin,
      }),
    );
  };

  /** Exponential with full jitter: clients that lost one server at once come back spread out. */
  #nextDelayMs(): number {
    const boundMs = Math.min(this.#maxRetryMs, this.#minRetryMs * 2 ** this.#failures);
    this.#failures += 1;
    return Math.random() * boundMs;
  }

  /** The one place where the connection and the timer end. */
  #release(): void {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#source?.close();
    this.#source = undefined;
  }

  #changeState(state: SseState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new Event('statechange'));
  }
}
