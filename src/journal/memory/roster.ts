import type { NoteResult, Roster, RosterEntry, Subscriber } from '../roster.js';

/** Subscribers of a page: each has as many subscriptions as it has selectors, up to a hundred. */
const PAGE_SUBSCRIBERS = 10;

/** The roster of a process that shares it with no other. */
export class MemoryRoster implements Roster {
  readonly #subscribers = new Map<string, Subscriber>();

  async note(starts: readonly Subscriber[], ends: readonly Subscriber[]): Promise<NoteResult> {
    for (const { name } of ends) this.#subscribers.delete(name);
    for (const subscriber of starts) this.#subscribers.set(subscriber.name, subscriber);
    return { noted: true, key: undefined };
  }

  async *list(selector?: string): AsyncGenerator<RosterEntry[]> {
    let page: RosterEntry[] = [];
    let lookedAt = 0;
    for (const subscriber of this.#subscribers.values()) {
      for (const text of subscriber.selectors) {
        if (selector === undefined || text === selector) page.push(entryOf(subscriber, text));
      }
      lookedAt += 1;
      if (lookedAt % PAGE_SUBSCRIBERS !== 0) continue;
      yield page;
      page = [];
    }
    yield page;
  }

  async get(selector: string, name: string): Promise<RosterEntry | undefined> {
    const subscriber = this.#subscribers.get(name);
    return subscriber?.selectors.includes(selector) ? entryOf(subscriber, selector) : undefined;
  }

  // There are no others, and nothing happens to it.
  watch(): void {}
  settle(): void {}
  async close(): Promise<void> {}
}

function entryOf({ name, payload }: Subscriber, selector: string): RosterEntry {
  return { selector, subscriber: name, payload };
}
