import { describe, expect, test } from '@jest/globals';
import { JournalTopics } from '../src/hub/journal-topics.js';
import { Window } from '../src/hub/window.js';
import { JournalError } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { type HubClient, openTestHub, settled, subscribe, update } from './support/hub.js';

/** The topics of a journal that fails after its first page, once. */
function failingOnce(error: Error): JournalTopics {
  const journal = openMemoryJournal({ maxUpdates: 10, maxAgeMs: 0 });
  let hasFailed = false;
  journal.topics = async function* () {
    yield ['a'];
    if (!hasFailed) {
      hasFailed = true;
      throw error;
    }
    yield ['b'];
  };
  return new JournalTopics(journal, new Window(1_000));
}

describe('the topics of a journal that cannot be read for a while', () => {
  test('end with an error for all who list them, who else would take what they have for all there are', async () => {
    const error = new Error('The journal is away.');
    const topics = failingOnce(error);
    const [first, second] = [topics.list(), topics.list()];
    expect((await first.next()).value?.topics).toEqual(['a']);
    expect((await second.next()).value?.topics).toEqual(['a']);
    await expect(first.next()).rejects.toBe(error);
    await expect(second.next()).rejects.toBe(error);
  });

  test('are listed anew for those who come after that, also while others have not noticed', async () => {
    const topics = failingOnce(new Error('The journal is away.'));
    const [first, second] = [topics.list(), topics.list()];
    await first.next();
    await second.next();
    await expect(first.next()).rejects.toThrow();
    const third: string[] = [];
    for await (const page of topics.list()) third.push(...page.topics);
    expect(third).toEqual(['a', 'b']);
    await expect(second.next()).rejects.toThrow();
  });

  test('leave no client with a hole: it is sent all that it missed, or its stream ends', async () => {
    const journal = openMemoryJournal({ maxUpdates: 100, maxAgeMs: 0 });
    await journal.append(Array.from({ length: 10 }, (_, n) => update(`items/${n}`, String(n))));
    const list = journal.topics.bind(journal);
    let failures = 0;
    journal.topics = async function* () {
      // So many that some readers still look at them when the first of them asks for more.
      yield Array.from({ length: 20_000 }, (_, n) => `others/${n}`);
      failures += 1;
      if (failures === 1) throw new JournalError('ERR_JOURNAL_UNAVAILABLE', 'It is away.');
      yield* list();
    };
    const hub = await openTestHub({ journal });
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => subscribe(hub, 'items/{n}', { from: 'earliest' })),
    );
    while (failures === 0) await settled();
    await hub.hub.publish([update('items/10', 'live')]);
    const isDone = ({ data, stream }: HubClient) => !stream.writable || data.at(-1) === 'live';
    while (!clients.every(isDone)) await settled();
    for (const { data, stream } of clients) {
      if (!stream.writable) continue;
      expect(data).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'live']);
    }
  });
});
