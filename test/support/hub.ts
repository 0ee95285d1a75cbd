import { once } from 'node:events';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { Hub, type HubOptions } from '../../src/hub/hub.js';
import type { Journal, Update } from '../../src/journal/journal.js';
import { openMemoryJournal } from '../../src/journal/memory/memory.js';
import { EventStream } from '../../src/sse/event-stream.js';
import { type Selection, select } from '../../src/topics/selection.js';

export interface TestHub {
  readonly hub: Hub;
  readonly journal: Journal;
  readonly log: string[];
}

/** A hub over a journal in memory. */
export async function openTestHub(
  options: Partial<HubOptions> & { maxUpdates?: number; journal?: Journal } = {},
): Promise<TestHub> {
  const { maxUpdates = 1_000_000, journal: given, ...hubOptions } = options;
  const journal = given ?? openMemoryJournal({ maxUpdates, maxAgeMs: 0 });
  const log: string[] = [];
  const hub = await Hub.open(journal, {
    windowMaxBytes: 64 * 1024 * 1024,
    slowClients: 'catch-up',
    log: ({ message }) => log.push(message),
    ...hubOptions,
  });
  hubs.push(hub);
  return { hub, journal, log };
}

export function selection(topics: string | string[], grants: string[] = []): Selection {
  return select([topics].flat(), grants);
}

export function update(
  topics: string | string[],
  data: string,
  more: Partial<Update> = {},
): Update {
  return { topics: [topics].flat(), data, private: false, ...more };
}

/** A client of a hub, without a network between them. */
export class HubClient {
  readonly stream: EventStream;
  readonly events: EventSourceMessage[] = [];
  #text = '';
  #arrived: () => void = () => undefined;

  constructor(lastEventId = '') {
    this.stream = new EventStream({ lastEventId });
    const parser = createParser({
      onEvent: (event) => {
        this.events.push(event);
        this.#arrived();
      },
    });
    this.ended = once(this.stream, 'end');
    this.stream.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text;
      parser.feed(text);
    });
  }

  /** Resolves when the server has ended the stream, and all has arrived. */
  readonly ended: Promise<unknown>;

  /** What a browser would send as `Last-Event-ID`. */
  get lastEventId(): string | undefined {
    return this.#text
      .match(/^id: (.*)$/gm)
      ?.at(-1)
      ?.slice('id: '.length);
  }

  /** Where it began, of one that has given no id. */
  get firstEventId(): string | undefined {
    return this.#text.match(/^id: (.*)$/m)?.[1];
  }

  get data(): string[] {
    return this.events.map(({ data }) => data);
  }

  get ids(): (string | undefined)[] {
    return this.events.map(({ id }) => id);
  }

  /** Resolves when so many events have arrived. */
  async has(count: number): Promise<this> {
    while (this.events.length < count) {
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
    return this;
  }

  leave(): void {
    this.stream.destroy();
  }
}

/** Subscribes a client, from a `Last-Event-ID` if one is given. */
export async function subscribe(
  { hub }: Pick<TestHub, 'hub'>,
  topics: string | string[],
  options: { from?: string; grants?: string[]; latest?: boolean; withheld?: boolean } = {},
): Promise<HubClient> {
  const { from, grants, latest = false, withheld } = options;
  const client = new HubClient(from);
  const wanted = selection(topics, grants);
  const start = from === undefined ? undefined : await hub.locate(from, wanted);
  hub.subscribe(client.stream, wanted, { start, latest, withheld, identity: 'a test' });
  return client;
}

/** Those of this test file. */
const hubs: Hub[] = [];

/** A catch-up that is under way for longer is held by a test, and nothing comes of it for now. */
const HELD_MS = 200;
const HELD_ROUNDS = 5_000;

/**
 * Resolves when everything that is on its way now has arrived. Catch-ups pause for as long as others had to wait for
 * them: on a busy machine that is any number of turns.
 */
export async function settled(): Promise<void> {
  const latest = performance.now() + HELD_MS;
  for (let rounds = 0; rounds < HELD_ROUNDS; rounds += 1) {
    for (let turns = 0; turns < 5; turns += 1) await new Promise(setImmediate);
    const isCatchingUp = hubs.some(({ statistics }) => statistics.catchUps > 0);
    if (!isCatchingUp || performance.now() > latest) return;
  }
}
