import { comparePositions, type Journal, type Position } from '../journal/journal.js';
import type { Window } from './window.js';

/**
 * The topics of the journal, for all readers that want them at the same time: they are listed once, page by page as
 * the first of the readers asks for them, and let go of with the last.
 */
export class JournalTopics {
  readonly #journal: Journal;
  readonly #window: Window;
  #current: TopicList | undefined;

  constructor(journal: Journal, window: Window) {
    this.#journal = journal;
    this.#window = window;
  }

  /**
   * The topics that the journal has at this moment, in pages. Those of newer updates may be missing: `through` says
   * up to where none is.
   */
  async *list(): AsyncGenerator<{ topics: readonly string[]; through: Position }> {
    const { start, head } = this.#window;
    let list = this.#current;
    if (!list || list.hasFailed || comparePositions(list.through, start.position) < 0) {
      list = new TopicList(this.#journal.topics(), head.position);
      this.#current = list;
    }
    list.readers += 1;
    try {
      for (let n = 0; ; n += 1) {
        const topics = await list.page(n);
        if (topics === undefined) return;
        yield { topics, through: list.through };
      }
    } finally {
      list.readers -= 1;
      if (list.readers === 0) {
        if (this.#current === list) this.#current = undefined;
        await list.close();
      }
    }
  }
}

class TopicList {
  readonly through: Position;
  readers = 0;
  readonly #iterator: AsyncIterator<readonly string[]>;
  readonly #pages: (readonly string[])[] = [];
  #fetching: Promise<void> | undefined;
  #isComplete = false;
  #failure: { readonly error: unknown } | undefined;

  constructor(pages: AsyncIterable<readonly string[]>, through: Position) {
    this.#iterator = pages[Symbol.asyncIterator]();
    this.through = through;
  }

  /** The journal could not be read: nobody gets a page more. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  /** @throws what the journal has thrown, to all who want a page that it was not read for. */
  async page(n: number): Promise<readonly string[] | undefined> {
    while (n >= this.#pages.length && !this.#isComplete) {
      // Asked again, an iterator that has thrown says that there is no more, as if the topics had been listed to the end.
      if (this.#failure) throw this.#failure.error;
      this.#fetching ??= this.#fetch();
      await this.#fetching;
    }
    return this.#pages[n];
  }

  async close(): Promise<void> {
    await this.#fetching?.catch(() => undefined);
    await this.#iterator.return?.();
  }

  async #fetch(): Promise<void> {
    try {
      const { done, value } = await this.#iterator.next();
      if (done) this.#isComplete = true;
      else this.#pages.push(value);
    } catch (error) {
      this.#failure = { error };
      throw error;
    } finally {
      this.#fetching = undefined;
    }
  }
}
