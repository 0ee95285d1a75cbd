import {
  comparePositions,
  type Ending,
  type Entry,
  type EntryRef,
  type Journal,
  type JournalErrorCode,
  type ReadRange,
  type Update,
} from '../journal.js';
import { equal, ok } from './assertions.js';
import { type Context, group } from './case.js';
import { type Random, withSeeds } from './random.js';
import {
  allEndings,
  allTopics,
  dataOf,
  listen,
  NO_LIMIT,
  newestOf,
  readAll,
  until,
  update,
} from './tools.js';

export const models = group('the simplest journal there could be', (test) => {
  test('behaves the same, whatever is done with it', (context) => play(context, someUpdate));

  test('keeps the same, whoever publishes what', async ({ open }) => {
    await withSeeds(60, async (random, length) => {
      const limits = { maxUpdates: 8, maxTransient: 3 };
      const journal = await open(limits);
      const model = new RetentionModel(limits);
      for (let n = 0; n < length; n += 1) {
        const each = update(`${n}`, {
          publisher: random.pick([undefined, 'ada', 'bob', 'eve']),
          transient: random.pick([undefined, undefined, true]),
          topics: random.some(['a', 'b'], 1),
          private: random.below(2) === 0,
        });
        const [ref] = await journal.append([each]);
        model.append({ ...each, ...(ref as EntryRef) });
        await until(async () => (await readAll(journal)).length <= model.held.length);
      }
      await compareRetention(journal, model);
      await journal.close();
    });
  });
});

export const endingModels = group('endings of the simplest journal there could be', (test) => {
  test('behaves the same, whatever ends and is reopened', (context) =>
    play(context, (random) => ({
      ...someUpdate(random),
      last: random.pick([undefined, undefined, true]),
      reopen: random.pick([undefined, undefined, true]),
    })));
});

/** Does the same with a journal and with the simplest one. */
async function play({ open }: Context, make: (random: Random) => Update): Promise<void> {
  await withSeeds(60, async (random, length) => {
    const journal = await open({ maxUpdates: MAX_UPDATES });
    const model = new Model();
    const heard = await listen(journal);
    for (let n = 0; n < length; n += 1) {
      const act = random.pick([append, append, append, read, read, look]);
      await act(journal, model, random, make);
    }
    equal(heard, model.told);
    await journal.close();
  });
}

const MAX_UPDATES = 12;
const TOPICS = ['a', 'b', 'c', 'd'];

/** Everything in one array, and looked for from its start. It learns positions from the journal. */
class Model {
  entries: Entry[] = [];
  readonly told: Entry[] = [];
  lastTrimmed: Entry | undefined;
  /** The last update of each topic that has ended. */
  ended: ReadonlyMap<string, Entry> = new Map();

  /** What comes of an append, once it is known where its new updates stand, or with which error it was refused. */
  append(updates: readonly Update[], outcome: readonly EntryRef[] | JournalErrorCode): void {
    const added: Entry[] = [];
    const ended = new Map(this.ended);
    for (const [index, { reopen, ...each }] of updates.entries()) {
      const ref = typeof outcome === 'string' ? undefined : outcome[index];
      const first = [...this.entries, ...added].find(({ id }) => id === each.id);
      if (first && !isSame(first, each)) {
        equal(outcome, 'ERR_ID_TAKEN');
        return;
      }
      if (first) {
        // Without a ref it is to be refused, for the sake of a later one.
        if (ref) equal(ref, { id: first.id, position: first.position });
        continue;
      }
      if (!reopen && each.topics.some((topic) => ended.has(topic))) {
        equal(outcome, 'ERR_TOPIC_ENDED');
        return;
      }
      const entry = { ...each, id: each.id ?? ref?.position ?? '', position: ref?.position ?? '' };
      added.push(entry);
      for (const topic of each.topics) {
        if (each.last) ended.set(topic, entry);
        else ended.delete(topic);
      }
    }
    ok(typeof outcome !== 'string', `an append that is not to be refused is: ${outcome}`);
    this.ended = ended;
    this.entries.push(...added);
    this.told.push(...added);
  }

  trim(): void {
    while (this.entries.length > MAX_UPDATES) this.lastTrimmed = this.entries.shift();
  }

  read({ after, through, topics, maxEntries, maxLength }: ReadRange): Entry[] {
    let length = 0;
    return this.entries
      .filter(({ position }) => after === undefined || comparePositions(position, after) > 0)
      .filter(({ position }) => through === undefined || comparePositions(position, through) <= 0)
      .filter((entry) => topics === undefined || topics.some((t) => entry.topics.includes(t)))
      .slice(0, maxEntries)
      .filter(({ data }, index) => {
        const isWithin = index === 0 || length < maxLength;
        length += data.length;
        return isWithin;
      });
  }
}

/** Calls under way together: the journal takes them in the order they were made in. */
async function append(
  journal: Journal,
  model: Model,
  random: Random,
  make: (random: Random) => Update,
): Promise<void> {
  const calls = random.list(3, () => random.list(4, () => make(random)), 1);
  const results = await Promise.allSettled(calls.map((call) => journal.append(call)));
  for (const [index, result] of results.entries()) {
    const outcome = result.status === 'fulfilled' ? result.value : result.reason.code;
    model.append(calls[index] as Update[], outcome);
  }
  model.trim();
  await until(async () => (await readAll(journal)).length <= MAX_UPDATES);
}

function someUpdate(random: Random): Update {
  return update(random.pick(['', 'x', 'some words']), {
    topics: random.some(TOPICS, 1),
    type: random.pick([undefined, 'type']),
    private: random.below(2) === 0,
    id: random.pick([undefined, undefined, 'id 1', 'id 2', 'id 3', 'id 4']),
  });
}

async function read(journal: Journal, model: Model, random: Random): Promise<void> {
  const somewhere = () =>
    random.below(3) === 0 ? undefined : model.told[random.below(model.told.length + 1)]?.position;
  const range = {
    after: somewhere(),
    through: somewhere(),
    topics: random.below(3) === 0 ? undefined : random.some(TOPICS),
    maxEntries: 1 + random.below(20),
    maxLength: random.below(40),
  };
  const { entries, trimmed, trimmedTransient } = await journal.read(range);
  equal(entries, model.read(range));
  const { lastTrimmed } = model;
  const isTrimmed =
    range.after !== undefined &&
    lastTrimmed !== undefined &&
    comparePositions(range.after, lastTrimmed.position) < 0;
  equal({ trimmed, trimmedTransient }, { trimmed: isTrimmed, trimmedTransient: false });
}

async function look(journal: Journal, model: Model, random: Random): Promise<void> {
  const { entries, lastTrimmed, told } = model;
  const [oldest, head] = [entries[0], entries.at(-1)].map(
    (entry) => entry && { id: entry.id, position: entry.position },
  );
  equal(await journal.bounds(), { oldest, head });
  equal(new Set(await allTopics(journal)), new Set(entries.flatMap(({ topics }) => topics)));
  const count = 1 + random.below(5);
  const newest = await journal.newest(TOPICS, { count });
  equal(
    newest,
    TOPICS.map((topic) => entries.filter(({ topics }) => topics.includes(topic)).slice(-count)),
  );
  equal(inOrder(await allEndings(journal)), inOrder(endingsOf(model)));
  const wanted = told[random.below(told.length + 1)];
  const id = wanted?.id ?? 'id 1';
  const held =
    entries.find((entry) => entry.id === id) ?? (lastTrimmed?.id === id ? lastTrimmed : undefined);
  const isPosition = wanted !== undefined && id === wanted.position;
  equal(
    await journal.locate(id),
    held
      ? { found: true, position: held.position }
      : { found: false, reason: isPosition ? 'trimmed' : 'unknown' },
  );
}

function endingsOf({ ended }: Model): Ending[] {
  return [...new Set(ended.values())].map((entry) => {
    const { id, position, topics, private: isPrivate, publisher } = entry;
    return {
      ended: topics.filter((topic) => ended.get(topic) === entry),
      update: { id, position, topics, private: isPrivate, publisher },
    };
  });
}

function inOrder(endings: readonly Ending[]): Ending[] {
  return [...endings].sort((a, b) => comparePositions(a.update.position, b.update.position));
}

function isSame(a: Update, b: Update): boolean {
  const content = ({ topics, data, type, retry, private: isPrivate, last }: Update): string =>
    JSON.stringify([topics, data, type, retry, isPrivate, last]);
  return content(a) === content(b);
}

async function compareRetention(journal: Journal, model: RetentionModel): Promise<void> {
  equal(dataOf(await readAll(journal)), dataOf(model.held));
  for (const topic of ['a', 'b']) {
    const ofTopic = model.held.filter(({ topics }) => topics.includes(topic));
    equal(dataOf(await readAll(journal, { topics: [topic] })), dataOf(ofTopic));
    equal(dataOf(await newestOf(journal, topic, 2)), dataOf(ofTopic.slice(-2)));
  }
  for (const { position } of model.all) {
    equal(await journal.trimmedTopics(position, ['a', 'b']), model.trimmedTopics(position));
    const isMissed = (trimmed: readonly Entry[]): boolean =>
      trimmed.some((entry) => comparePositions(entry.position, position) > 0);
    const { trimmed, trimmedTransient } = await journal.read({ ...NO_LIMIT, after: position });
    equal(trimmed, isMissed(model.trimmed.filter(({ transient }) => !transient)));
    equal(trimmedTransient, isMissed(model.trimmed.filter(({ transient }) => transient)));
  }
}

/** Everything in one array, and counted anew each time. Its limits are even, so that no two have most. */
class RetentionModel {
  readonly all: Entry[] = [];
  held: Entry[] = [];
  readonly trimmed: Entry[] = [];
  /** Those that were the oldest when they were trimmed. */
  readonly #front: Entry[] = [];
  readonly #limits: { maxUpdates: number; maxTransient: number };

  constructor(limits: { maxUpdates: number; maxTransient: number }) {
    this.#limits = limits;
  }

  append(entry: Entry): void {
    this.all.push(entry);
    this.held.push(entry);
    const { maxUpdates, maxTransient } = this.#limits;
    const transient = this.held.filter((each) => each.transient);
    if (transient.length > maxTransient) this.#trim(transient[0]);
    const lasting = this.held.filter((each) => !each.transient);
    if (lasting.length <= maxUpdates) return;
    const oldestOfHeavy = lasting.find(
      ({ publisher }) =>
        lasting.filter((each) => each.publisher === publisher).length > maxUpdates / 2,
    );
    this.#trim(oldestOfHeavy ?? lasting[0]);
  }

  /** Sorted by topic, public ones first, as the test's topics are looked for. */
  trimmedTopics(after: string) {
    const isMissed = ({ position }: Entry) => comparePositions(position, after) > 0;
    if (this.#front.some(isMissed)) return undefined;
    const missed = this.trimmed.filter((entry) => !entry.transient && isMissed(entry));
    return ['a', 'b'].flatMap((topic) =>
      [false, true]
        .filter((isPrivate) =>
          missed.some(({ topics, private: each }) => each === isPrivate && topics.includes(topic)),
        )
        .map((isPrivate) => ({ topic, private: isPrivate })),
    );
  }

  #trim(entry: Entry | undefined): void {
    if (entry === this.held.find(({ transient }) => !transient)) this.#front.push(entry as Entry);
    this.held = this.held.filter((each) => each !== entry);
    if (entry) this.trimmed.push(entry);
  }
}
