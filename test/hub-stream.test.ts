import { Readable } from 'node:stream';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { UpdateError } from '../src/hub/update.js';
import { type Journal, JournalError, type JournalErrorCode } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { openTestHub, settled, subscribe, update } from './support/hub.js';
import { readAll } from './support/journal-contract.js';
import { NodeJournal } from './support/node-journal.js';

afterEach(() => {
  jest.restoreAllMocks();
});

/** A source that never ends by itself, and whether it was closed. */
function endless() {
  const state = { isClosed: false };
  async function* items() {
    try {
      for (let n = 0; ; n += 1) {
        yield String(n);
        await new Promise(setImmediate);
      }
    } finally {
      state.isClosed = true;
    }
  }
  return Object.assign(state, { items: items() });
}

/** The data and types of all updates that a journal holds. */
async function published(journal: Journal) {
  return (await readAll(journal)).map(({ data, type, last }) => [data, type, last]);
}

/** What fails as a journal does, some times. */
function fail(journal: Journal, code: JournalErrorCode, times: number, isAppended = false) {
  const append = journal.append.bind(journal);
  return jest.spyOn(journal, 'append').mockImplementation(async (...call) => {
    times -= 1;
    if (times < 0) return append(...call);
    if (isAppended) await append(...call);
    throw new JournalError(code, 'failed');
  });
}

describe('hub.stream', () => {
  test('publishes what a source yields, and ends the topic', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    async function* source() {
      yield 'Hel';
      await settled();
      yield { type: 'note', data: 'lo', id: 'mine', retry: 5 };
    }
    const streamed = await test.hub.stream('a', source(), { type: 'token' });
    await client.ended;
    expect(client.events.map(({ event, data }) => [event, data])).toEqual([
      ['token', 'Hel'],
      ['note', 'lo'],
      ['end', ''],
    ]);
    expect(client.ids[1]).toBe('mine');
    const { last } = streamed;
    expect(streamed).toEqual({
      outcome: 'ended',
      count: 2,
      last: { id: last.id, position: last.id },
    });
    expect(client.lastEventId).toBe(last.id);
    expect(test.hub.hasEnded('a')).toBe(true);
  });

  test.each([
    ['an array', () => ['grö', 'ßer']],
    ['a Readable of texts', () => Readable.from(['grö', 'ßer'])],
    ['a web stream', () => Readable.toWeb(Readable.from(['grö', 'ßer'])) as never],
    [
      'a Readable of bytes, parted within a character',
      () => {
        const bytes = Buffer.from('größer');
        return Readable.from([bytes.subarray(0, 4), bytes.subarray(4, 5), bytes.subarray(5)]);
      },
    ],
    [
      'bytes that end within a character',
      () => [Buffer.from('grö'), Buffer.from('ß').subarray(0, 1)],
    ],
  ])('reads %s', async (name, source) => {
    const { hub, journal } = await openTestHub();
    const { count } = await hub.stream(['a', 'b'], source());
    const data = (await published(journal)).map(([text]) => text);
    const rest = name.startsWith('bytes') ? '\ufffd' : 'ßer';
    expect(data).toEqual(['grö', rest, '']);
    expect(count).toBe(2);
    expect([hub.hasEnded('a'), hub.hasEnded('b')]).toEqual([true, true]);
  });

  test('appends together what comes within a turn, one append at a time', async () => {
    const { hub, journal } = await openTestHub();
    const append = jest.spyOn(journal, 'append');
    const numbers = Array.from({ length: 1_000 }, (_, n) => String(n));
    async function* source() {
      yield* numbers.slice(0, 400);
      await settled();
      yield* numbers.slice(400);
    }
    await hub.stream('a', source());
    const appended = append.mock.calls.flatMap(([updates]) => updates.map(({ data }) => data));
    expect(appended).toEqual([...numbers, '']);
    // Each is as much as there is time for in a turn: on a machine that is not busy these are four.
    const keys = append.mock.calls.map(([, options]) => options?.key?.key);
    expect(keys.length).toBeLessThan(50);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test('reads a source no faster than the journal takes it', async () => {
    const { hub, journal } = await openTestHub();
    const append = journal.append.bind(journal);
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let atOnce = 0;
    jest.spyOn(journal, 'append').mockImplementation(async (...call) => {
      atOnce += 1;
      expect(atOnce).toBe(1);
      await held;
      const refs = await append(...call);
      atOnce -= 1;
      return refs;
    });
    let yielded = 0;
    function* source(data: string, total: number) {
      for (; yielded < total; yielded += 1) yield data;
    }
    const streamed = hub.stream('a', source('x', 10_000));
    for (let turns = 0; turns < 100; turns += 1) await settled();
    expect(yielded).toBeGreaterThan(100);
    expect(yielded).toBeLessThanOrEqual(1_000);
    release();
    expect((await streamed).count).toBe(10_000);
    expect(await published(journal)).toHaveLength(10_001);

    yielded = 0;
    await hub.stream('b', source('x'.repeat(100_000), 50));
    const sizes = jest.mocked(journal.append).mock.calls.map(([updates]) => updates);
    const lengths = sizes.map((list) => list.reduce((sum, { data }) => sum + data.length, 0));
    expect(Math.max(...lengths)).toBeLessThan(400_000);
  });

  test('is done when the end is known here, whether its source has failed or not', async () => {
    const journal = openMemoryJournal({ maxUpdates: 1_000, maxAgeMs: 0 });
    const node = new NodeJournal(journal);
    node.append = journal.append.bind(journal); // What it appends is told later.
    const { hub } = await openTestHub({ journal: node });
    let done = 0;
    const note = () => {
      done += 1;
    };
    // biome-ignore lint/correctness/useYield: it fails before.
    async function* source() {
      throw new Error('it fails');
    }
    const both = [hub.stream('a', ['1']).then(note), hub.stream('b', source()).catch(note)];
    while (node.behind < 3) await settled();
    await settled();
    expect(done).toBe(0);
    node.tell();
    await Promise.all(both);
    expect([hub.hasEnded('a'), hub.hasEnded('b')]).toEqual([true, true]);
  });

  test('leaves the event loop to others, however fast source and journal are', async () => {
    const { hub } = await openTestHub();
    let isOver = false;
    function* source() {
      while (!isOver) yield 'x';
    }
    const streamed = hub.stream('a', source());
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    isOver = true;
    expect((await streamed).outcome).toBe('ended');
  });

  test('keeps all of a private source private, its end too', async () => {
    const test = await openTestHub();
    const without = await subscribe(test, 'a');
    const within = await subscribe(test, 'a', { grants: ['a'] });
    await test.hub.stream('a', ['1'], { private: true, publisher: 'p', scope: 's' });
    await within.ended;
    expect(without.stream.writable).toBe(true);
    expect(without.data).toEqual([]);
    const entries = await readAll(test.journal);
    expect(entries.map((entry) => [entry.private, entry.publisher])).toEqual([
      [true, 'p'],
      [true, 'p'],
    ]);
  });

  test('says in the last update what the app has chosen, as it is at the end', async () => {
    const { hub, journal } = await openTestHub();
    let tokens = 0;
    function* source() {
      for (; tokens < 3; tokens += 1) yield 'x';
    }
    await hub.stream('a', source(), { end: () => ({ data: `${tokens} tokens` }) });
    await hub.stream('b', [], { end: { type: 'done' } });
    expect((await published(journal)).slice(3)).toEqual([
      ['3 tokens', 'end', true],
      ['', 'done', true],
    ]);
  });
});

describe('a source that fails', () => {
  const error = new Error('a secret of the app');

  test('ends its topic with a failure, which does not tell the error', async () => {
    const test = await openTestHub();
    const client = await subscribe(test, 'a');
    const source = async function* source() {
      yield '1';
      await settled();
      throw error;
    };
    await expect(test.hub.stream('a', source())).rejects.toBe(error);
    await client.ended;
    expect(client.events.map(({ event, data }) => [event, data])).toEqual([
      [undefined, '1'],
      ['failure', ''],
    ]);
  });

  test('tells what the app makes of the error', async () => {
    const { hub, journal } = await openTestHub();
    const failure = (given: unknown) => ({ type: 'oops', data: given === error ? 'known' : '?' });
    const source = Readable.from(['1']).on('data', () => source.destroy(error));
    await expect(hub.stream('a', source, { failure })).rejects.toBe(error);
    expect((await published(journal)).at(-1)).toEqual(['known', 'oops', true]);
  });

  test.each([
    ['the failure', { failure: () => ({ type: 'a\nb' }) }, AggregateError, 'failure'],
    [
      'the end',
      {
        end: () => {
          throw error;
        },
      },
      Error,
      'failure',
    ],
  ])(
    'or an app that fails to say %s, ends its topic all the same',
    async (what, options, type, last) => {
      const { hub, journal } = await openTestHub();
      function* source() {
        if (what === 'the failure') throw error;
        yield '1';
      }
      await expect(hub.stream('a', source(), options)).rejects.toThrow(type);
      expect((await published(journal)).at(-1)).toEqual(['', last, true]);
    },
  );

  test.each([
    ['a number', 7, 'object'],
    ['nothing', null, 'null'],
    ['an update of its own topic', { topics: ['b'], data: '' }, '"topics"'],
    ['an update without data', { type: 'x' }, 'data is a string'],
    ['a type with a line break', { data: '', type: 'a\nb' }, 'type'],
  ])('as it yields %s is refused and closed, and its topic ends', async (_, item, message) => {
    const { hub, journal } = await openTestHub();
    const source = Readable.from(['1', 2, 'never']).map((each) => (each === 2 ? item : each));
    const given = item === null ? ([null] as never) : source;
    await expect(hub.stream('a', given)).rejects.toThrow(message);
    expect((await published(journal)).at(-1)).toEqual(['', 'failure', true]);
    if (item !== null) expect(source.destroyed).toBe(true);
  });

  test('as it gives an id that is taken ends its topic', async () => {
    const { hub, journal } = await openTestHub();
    await hub.publish([update('a', 'other', { id: 'mine' })]);
    const source = endless();
    async function* items() {
      yield { data: '1', id: 'mine' };
      yield* source.items;
    }
    await expect(hub.stream('a', items())).rejects.toMatchObject({ code: 'ERR_ID_TAKEN' });
    expect((await published(journal)).at(-1)).toEqual(['', 'failure', true]);
  });

  test('right after it has given an id that is taken ends its topic, and both are told', async () => {
    const { hub, journal } = await openTestHub();
    await hub.publish([update('a', 'other', { id: 'mine' })]);
    const failure = new Error('no more');
    async function* items() {
      yield { data: '1', id: 'mine' };
      throw failure;
    }
    await expect(hub.stream('a', items())).rejects.toMatchObject({
      errors: [failure, { code: 'ERR_ID_TAKEN' }],
    });
    expect((await published(journal)).slice(1)).toEqual([['', 'failure', true]]);
    expect(hub.hasEnded('a')).toBe(true);
  });
});

describe('a signal', () => {
  test('closes the source at once, publishes what it has yielded, and tells that it was cancelled', async () => {
    const { hub, journal } = await openTestHub();
    const source = new Readable({ read: () => undefined, encoding: 'utf8' });
    source.push('1');
    const abort = new AbortController();
    const streamed = hub.stream('a', source, { signal: abort.signal });
    await settled();
    abort.abort();
    const { outcome, count } = await streamed;
    expect({ outcome, count }).toEqual({ outcome: 'cancelled', count: 1 });
    expect(source.destroyed).toBe(true);
    expect(await published(journal)).toEqual([
      ['1', undefined, undefined],
      ['', 'cancelled', true],
    ]);
  });

  test('that has aborted already lets nothing be read', async () => {
    const { hub, journal } = await openTestHub();
    const source = endless();
    const { signal } = { signal: AbortSignal.abort() };
    const { count } = await hub.stream('a', source.items, {
      signal,
      cancelled: { type: 'end', data: 'by you' },
    });
    expect(count).toBe(0);
    expect(await published(journal)).toEqual([['by you', 'end', true]]);
  });

  test('is not listened to any more when all is published', async () => {
    const { hub } = await openTestHub();
    const { signal } = new AbortController();
    const off = jest.spyOn(signal, 'removeEventListener');
    const on = jest.spyOn(signal, 'addEventListener');
    await hub.stream('a', ['1'], { signal });
    expect(on).toHaveBeenCalledTimes(1);
    expect(off.mock.calls[0]?.[1]).toBe(on.mock.calls[0]?.[1]);
  });
});

describe('a journal that fails', () => {
  test.each([
    ['ERR_JOURNAL_UNAVAILABLE', false],
    ['ERR_JOURNAL_OUTCOME_UNKNOWN', false],
    ['ERR_JOURNAL_OUTCOME_UNKNOWN', true],
  ] as const)(
    'for a while (%s, appended: %s) has all in the end, in order and once',
    async (code, isAppended) => {
      const { hub, journal } = await openTestHub();
      const append = fail(journal, code, 2, isAppended);
      async function* source() {
        for (let n = 0; n < 50; n += 1) {
          yield String(n);
          await new Promise(setImmediate);
        }
      }
      await hub.stream('a', source());
      const data = (await published(journal)).map(([text]) => text);
      expect(data).toEqual([...Array.from({ length: 50 }, (_, n) => String(n)), '']);
      const keys = append.mock.calls.slice(0, 3).map(([, options]) => options?.key?.key);
      expect(new Set(keys).size).toBe(1);
    },
  );

  test('for longer than appends are repeated closes the source, and that is the error', async () => {
    const { hub, journal } = await openTestHub();
    fail(journal, 'ERR_JOURNAL_UNAVAILABLE', Number.POSITIVE_INFINITY);
    const source = endless();
    const streamed = hub.stream('a', source.items, { retryMs: 100 });
    await expect(streamed).rejects.toMatchObject({ code: 'ERR_JOURNAL_UNAVAILABLE' });
    await settled();
    expect(source.isClosed).toBe(true);
    expect(hub.hasEnded('a')).toBe(false);
  });

  test('so that a failure of the source cannot be published says both', async () => {
    const { hub, journal } = await openTestHub();
    fail(journal, 'ERR_JOURNAL_CLOSED', Number.POSITIVE_INFINITY);
    const error = new Error('the source');
    // biome-ignore lint/correctness/useYield: it fails before.
    async function* source() {
      throw error;
    }
    const rejected: AggregateError = await hub.stream('a', source()).then(
      () => undefined as never,
      (reason) => reason,
    );
    expect(rejected).toBeInstanceOf(AggregateError);
    expect(rejected.errors[0]).toBe(error);
    expect(rejected.errors[1]).toMatchObject({ code: 'ERR_JOURNAL_CLOSED' });
  });
});

describe('an ended topic', () => {
  test('is not streamed to: the source is closed', async () => {
    const { hub, journal } = await openTestHub();
    await hub.publish([update('a', '1', { last: true })]);
    const source = new Readable({ read: () => undefined, encoding: 'utf8' });
    source.push('2');
    await expect(hub.stream('a', source)).rejects.toMatchObject({ code: 'ERR_TOPIC_ENDED' });
    expect(source.destroyed).toBe(true);
    expect(await published(journal)).toHaveLength(1);
  });

  test('goes on with the first update if it is to be reopened, and only then', async () => {
    const { hub, journal } = await openTestHub();
    await hub.publish([update('a', '1', { last: true })]);
    await hub.stream('a', ['2'], { reopen: true });
    await hub.stream('a', [], { reopen: true });
    expect((await published(journal)).map(([data, type]) => type ?? data)).toEqual([
      '1',
      '2',
      'end',
      'end',
    ]);
    const source = endless();
    const streamed = hub.stream('a', source.items, { reopen: true });
    await settled();
    await hub.publish([update('a', 'enough', { last: true })]);
    await expect(streamed).rejects.toMatchObject({ code: 'ERR_TOPIC_ENDED' });
    await settled();
    expect(source.isClosed).toBe(true);
  });

  test('is told from those whose source was cut off, when the app starts again', async () => {
    const journal = openMemoryJournal({ maxUpdates: 1_000, maxAgeMs: 0 });
    const before = await openTestHub({ journal });
    await before.hub.stream('texts/1', ['1']);
    await before.hub.publish([update('texts/2', '1'), update('other', '1')]);
    before.hub.close();

    const { hub } = await openTestHub({ journal });
    for await (const topics of journal.topics()) {
      const cutOff = topics.filter((topic) => topic.startsWith('texts/') && !hub.hasEnded(topic));
      const ends = cutOff.map((topic) => update(topic, '', { type: 'failure', last: true }));
      await hub.delivered(await hub.publish(ends));
    }
    const ended = (await published(journal)).slice(-1);
    expect(ended).toEqual([['', 'failure', true]]);
    expect(['texts/1', 'texts/2', 'other'].map((topic) => hub.hasEnded(topic))).toEqual([
      true,
      true,
      false,
    ]);
  });
});

test('hub.stream refuses what it is not to be called with, and closes the source', async () => {
  const { hub, journal } = await openTestHub();
  const cases: [string | string[], object, string][] = [
    ['a', { retry: 5 }, 'has no option "retry"'],
    ['a', { signal: {} }, 'is not a function'],
    ['a', { retryMs: -1 }, 'retryMs is a number of milliseconds, not -1'],
    ['a', { type: 'a\nb' }, 'type contains a control character'],
    ['a', { end: { type: 'a\nb' } }, 'type contains a control character'],
    ['', {}, 'topic is empty'],
    [[], {}, 'topic is missing'],
    ['x'.repeat(2_000), {}, 'topic is longer'],
  ];
  for (const [topics, options, message] of cases) {
    const source = Readable.from(['1']);
    await expect(hub.stream(topics, source, options)).rejects.toThrow(message);
    expect(source.destroyed).toBe(true);
  }
  await expect(hub.stream('', [])).rejects.toBeInstanceOf(UpdateError);
  for (const source of ['text', { data: '1' }, Buffer.from('1'), undefined]) {
    await expect(hub.stream('a', source as never)).rejects.toThrow(/^A source is an iterable/);
  }
  expect((await journal.bounds()).head).toBeUndefined();
});
