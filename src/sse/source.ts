import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';
import type { ReadableStream } from 'node:stream/web';
import { TextDecoder } from 'node:util';

/** What items are read from: an array, a generator, an async generator, a `Readable`, a web `ReadableStream`. */
export type AnySource<Item> = Iterable<Item | Uint8Array> | AsyncIterable<Item | Uint8Array>;

/**
 * Takes an item. Where it returns a promise, the next item is not asked for before that resolves.
 *
 * @internal
 */
export type TakeItem<Item> = (item: Item | string) => Promise<unknown> | undefined;

/** A source that never waits leaves the event loop to others after so long. */
const SLICE_MS = 5;

/**
 * Reads a source item by item. Bytes of UTF-8 become texts, however they were parted.
 *
 * @internal
 */
export class SourceReader<Item> {
  readonly #source: AnySource<Item>;
  readonly #iterator: Iterator<Item | Uint8Array> | AsyncIterator<Item | Uint8Array>;
  #state: 'open' | 'over' | 'closed' = 'open';
  #whenClosed: (() => void) | undefined;

  /** @throws {TypeError} if it is no source. */
  constructor(source: AnySource<Item>) {
    this.#source = source;
    this.#iterator = open(source);
  }

  /**
   * Hands over all items, one after the other.
   *
   * @returns whether the source has come to its end. `false`, at once, when it is closed: also while its next item is
   *   waited for.
   * @throws what the source throws, and what `take` throws. The source is the caller's to close then.
   */
  read(take: TakeItem<Item>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      // Whatever the source still does, nobody waits for it. One promise for all items: a race for each would be kept.
      this.#whenClosed = () => resolve(false);
      this.#readAll(take).then(resolve, reject);
    });
  }

  /** Closes the source, at once. Its errors concern nobody any more. */
  close(): void {
    if (this.#state !== 'open') return;
    this.#state = 'closed';
    this.#whenClosed?.();
    const source = this.#source as Closable;
    // Destroyed, a `Readable` that nobody has read yet may emit an error; with nobody to listen, it would end the process.
    void attempt(() => source.on?.('error', ignore));
    // A `Readable` that is destroyed lets go of what it waits for; `return` would wait for that.
    void attempt(() => source.destroy?.());
    void attempt(() => this.#iterator.return?.());
  }

  /** Short, since it runs for every token: whatever can be had without waiting is not waited for. */
  async #readAll(take: TakeItem<Item>): Promise<boolean> {
    let decoder: TextDecoder | undefined;
    let sliceTurn: number | undefined;
    let sliceStart = 0;
    while (this.#state === 'open') {
      const { done, value } = await this.#iterator.next();
      if (this.#state !== 'open') break;
      if (done) {
        this.#state = 'over';
        const rest = decoder?.decode() ?? '';
        if (rest !== '') await take(rest);
        return true;
      }
      const item = isPromise(value) ? await value : value;
      let taken: Promise<unknown> | undefined;
      if (item instanceof Uint8Array) {
        decoder ??= new TextDecoder();
        const text = decoder.decode(item, { stream: true });
        if (text !== '') taken = take(text); // Else a part of a character: the rest is yet to come.
      } else {
        taken = take(item);
      }
      if (taken !== undefined) await taken;
      const now = currentTurn();
      if (now !== sliceTurn) {
        sliceTurn = now;
        sliceStart = performance.now();
      } else if (performance.now() - sliceStart >= SLICE_MS) await new Promise(setImmediate);
    }
    return false;
  }
}

let turn = 0;
let isTurnCounted = false;

/** Numbers the turns of the event loop in which something is read: a source that waits for its items never gets far. */
function currentTurn(): number {
  if (!isTurnCounted) {
    isTurnCounted = true;
    setImmediate(countTurn);
  }
  return turn;
}

function countTurn(): void {
  isTurnCounted = false;
  turn += 1;
}

/** Generators wait for what they yield; arrays and iterators by hand may hold promises. */
function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return typeof value === 'object' && value !== null && 'then' in value;
}

/** What a source may have, beside its iterator, to be closed by. */
type Closable = Partial<Pick<Readable, 'on' | 'destroy'>>;

function open<Item>(source: AnySource<Item>) {
  if (typeof source === 'object' && source !== null) {
    if ('getReader' in source) return openWebStream(source as ReadableStream<Item>);
    if (Symbol.asyncIterator in source) return source[Symbol.asyncIterator]();
    if (Symbol.iterator in source && !ArrayBuffer.isView(source)) return source[Symbol.iterator]();
  }
  throw new TypeError(
    'A source is an iterable, an async iterable or a Readable, whose items are what is sent. It is not one item itself.',
  );
}

/** The iterator of a web stream waits with `return` for the item that is awaited: its reader cancels at once. */
function openWebStream<Item>(source: ReadableStream<Item>): AsyncIterator<Item> {
  const reader = source.getReader();
  return {
    next: async () => (await reader.read()) as IteratorResult<Item>,
    return: async () => {
      await reader.cancel();
      return { done: true, value: undefined };
    },
  };
}

/** Whatever goes wrong concerns nobody. */
async function attempt(work: () => unknown): Promise<void> {
  try {
    await work();
  } catch {}
}

function ignore(): void {}
