import { performance } from 'node:perf_hooks';
import { TextDecoder } from 'node:util';

/** What items are read from: an array, a generator, an async generator, a `Readable`, a web `ReadableStream`. */
export type AnySource<Item> = Iterable<Item | Uint8Array> | AsyncIterable<Item | Uint8Array>;

/** A source that never waits leaves the event loop to others after so long. */
const SLICE_MS = 5;

/** Reads a source item by item. Bytes of UTF-8 become texts, however they were parted. */
export class SourceReader<Item> {
  readonly #source: AnySource<Item>;
  readonly #iterator: Iterator<Item | Uint8Array> | AsyncIterator<Item | Uint8Array>;
  readonly #decoder = new TextDecoder();
  #state: 'open' | 'over' | 'closed' = 'open';
  #stopWaiting: (() => void) | undefined;
  #sliceStart = performance.now();

  /** @throws {TypeError} if it is no source. */
  constructor(source: AnySource<Item>) {
    this.#source = source;
    this.#iterator = open(source);
  }

  /**
   * The next item; `done` at the end of the source. Undefined if the source was closed, also meanwhile.
   *
   * @throws what the source throws.
   */
  async next(): Promise<IteratorResult<Item | string> | undefined> {
    for (;;) {
      if (performance.now() - this.#sliceStart >= SLICE_MS) {
        await new Promise(setImmediate);
        this.#sliceStart = performance.now();
      }
      if (this.#state === 'over') return OVER;
      const result = this.#state === 'closed' ? undefined : await this.#read();
      if (result === undefined) return undefined;
      if (result.done) {
        this.#state = 'over';
        const rest = this.#decoder.decode();
        return rest === '' ? OVER : { done: false, value: rest };
      }
      const value = await result.value;
      if (!(value instanceof Uint8Array)) return { done: false, value };
      const text = this.#decoder.decode(value, { stream: true });
      if (text !== '') return { done: false, value: text }; // Else a part of a character: the rest is yet to come.
    }
  }

  /** Closes the source, at once: also while its next item is waited for. Its errors concern nobody any more. */
  close(): void {
    if (this.#state !== 'open') return;
    this.#state = 'closed';
    this.#stopWaiting?.();
    const source = this.#source;
    // A `Readable` that is destroyed lets go of what it waits for; `return` would wait for that.
    if ('destroy' in source && typeof source.destroy === 'function') source.destroy();
    const closing = async () => this.#iterator.return?.();
    closing().catch(ignore);
  }

  /** No race with a promise of its end: each would be kept there until that comes. */
  #read(): Promise<IteratorResult<Item | Uint8Array> | undefined> {
    return new Promise((resolve, reject) => {
      this.#stopWaiting = () => resolve(undefined);
      Promise.resolve(this.#iterator.next()).then(resolve, reject);
    });
  }
}

function open<Item>(source: AnySource<Item>) {
  if (typeof source === 'object' && source !== null) {
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source && !ArrayBuffer.isView(source)) return source[Symbol.iterator]();
  }
  throw new TypeError(
    'A source is an iterable, an async iterable or a Readable, whose items are what is sent. It is not one item itself.',
  );
}

const OVER = { done: true, value: undefined } as const;

function ignore(): void {}
