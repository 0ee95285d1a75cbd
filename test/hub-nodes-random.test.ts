import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Journal, parsePosition } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import {
  type HubClient,
  openTestHub,
  settled,
  subscribe,
  type TestHub,
  update,
} from './support/hub.js';
import { NodeJournal } from './support/node-journal.js';

const NODES = 2;
const CLIENTS = 4;
const TOPICS = ['a', 'b', 'c'];
/** What the clients ask for, and whether an update of a topic is for them. */
const ASKED = [['a'], ['a', 'b'], ['{x}'], ['*']];

interface Node extends TestHub {
  readonly node: NodeJournal;
}

/** A client over all of its connections: what it was sent, and what it comes back with. */
class Roamer {
  readonly asked: readonly string[];
  readonly #startsEarly: boolean;
  #isEarliest = false;
  #client: HubClient | undefined;
  #lastEventId: string | undefined;
  /** The numbers of updates, in the order of their coming; `gap` where it was told of one. */
  #received: (number | 'gap')[] = [];
  /** The number of the last update before its first one. */
  #start = 0;

  constructor(asked: readonly string[], startsEarly: boolean) {
    this.asked = asked;
    this.#startsEarly = startsEarly;
  }

  wants(topic: string): boolean {
    return !/^[a-z]$/.test(this.asked[0] as string) || this.asked.includes(topic);
  }

  async connect(node: Node): Promise<void> {
    this.leave();
    const from = this.#lastEventId ?? (this.#startsEarly ? 'earliest' : undefined);
    if (from === 'earliest') this.#isEarliest = true;
    this.#client = await subscribe(node, [...this.asked], from === undefined ? {} : { from });
    if (from !== undefined) return;
    // The id that it begins after comes first, once the hub knows which topics have ended.
    const client = this.#client;
    while (client.firstEventId === undefined && client.stream.writable) await settled();
    const [, sequence = '0'] = (client.firstEventId ?? '').split('-');
    this.#start = Number(sequence);
    this.#keep();
  }

  leave(): void {
    this.#keep();
    this.#client?.leave();
    this.#client = undefined;
  }

  get isConnected(): boolean {
    return this.#client !== undefined;
  }

  get lastReceived(): number {
    const numbers = this.#all().filter((each) => each !== 'gap');
    return Number(numbers.at(-1) ?? this.#start);
  }

  /**
   * It was sent every update that it asked for, in order and once, or was told of a gap.
   *
   * @param trimmed how many are no longer held.
   */
  check(topics: readonly string[], trimmed: number): void {
    let last = this.#start;
    // `earliest` is all that is held: what was trimmed before its first update is not owed.
    let isGap = this.#isEarliest;
    for (const each of this.#all()) {
      if (each === 'gap') {
        isGap = true;
        continue;
      }
      expect(each).toBeGreaterThan(last);
      const missed = topics.slice(last, each - 1).filter((topic) => this.wants(topic));
      if (!isGap) expect({ missed, before: each }).toEqual({ missed: [], before: each });
      last = each;
      isGap = false;
    }
    // After a gap what is held is owed.
    const owed = topics.slice(isGap ? Math.max(last, trimmed) : last);
    expect(owed.filter((topic) => this.wants(topic))).toEqual([]);
  }

  #all(): (number | 'gap')[] {
    const now = this.#client?.events ?? [];
    return [
      ...this.#received,
      ...now.map(({ event, data }) => (event === 'gap' ? event : Number(data))),
    ];
  }

  #keep(): void {
    if (this.#client === undefined) return;
    this.#received = this.#all();
    this.#lastEventId = this.#client.lastEventId ?? this.#lastEventId;
    this.#client.events.splice(0);
  }
}

const nodes = fc.nat(NODES - 1);
const clients = fc.nat(CLIENTS - 1);
const steps = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      append: fc.array(fc.constantFrom(...TOPICS), { minLength: 1, maxLength: 5 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ tell: fc.nat(6), node: nodes }) },
  { weight: 2, arbitrary: fc.record({ lose: fc.nat(6), node: nodes }) },
  { weight: 1, arbitrary: fc.record({ again: fc.nat(3), node: nodes }) },
  { weight: 3, arbitrary: fc.record({ connect: clients, node: nodes }) },
  { weight: 1, arbitrary: fc.record({ leave: clients }) },
  { weight: 2, arbitrary: fc.record({ turns: fc.nat(4) }) },
);

async function play(
  script: readonly Step[],
  shared: Journal,
  windowMaxBytes: number,
): Promise<void> {
  const all: Node[] = [];
  for (let n = 0; n < NODES; n += 1) {
    const node = new NodeJournal(shared);
    all.push({ ...(await openTestHub({ journal: node, windowMaxBytes })), node });
  }
  const roamers = Array.from(
    { length: CLIENTS },
    (_, n) => new Roamer(ASKED[n] as string[], n % 2 === 0),
  );
  const topics: string[] = [];
  for (const each of script) await take(each, { all, roamers, topics, shared });

  // In the end every node hears of everything, and every client is connected.
  for (const [n, roamer] of roamers.entries()) {
    if (!roamer.isConnected) await roamer.connect(all[n % NODES] as Node);
  }
  for (const { node } of all) node.tell();
  const { oldest } = await shared.bounds();
  const trimmed = oldest === undefined ? 0 : parsePosition(oldest.position)[1] - 1;
  const isComplete = (roamer: Roamer): boolean =>
    !topics.slice(Math.max(roamer.lastReceived, trimmed)).some((topic) => roamer.wants(topic));
  for (let n = 0; n < 400 && !roamers.every(isComplete); n += 1) await settled();
  await settled();
  for (const roamer of roamers) roamer.check(topics, trimmed);
  for (const roamer of roamers) roamer.leave();
  for (const { hub } of all) hub.close();
}

type Step =
  | { append: string[] }
  | { tell: number; node: number }
  | { lose: number; node: number }
  | { again: number; node: number }
  | { connect: number; node: number }
  | { leave: number }
  | { turns: number };

interface World {
  readonly all: readonly Node[];
  readonly roamers: readonly Roamer[];
  /** Of each update that was appended. */
  readonly topics: string[];
  readonly shared: Journal;
}

async function take(step: Step, { all, roamers, topics, shared }: World): Promise<void> {
  if ('append' in step) {
    const first = topics.push(...step.append) - step.append.length + 1;
    await shared.append(step.append.map((topic, n) => update(topic, String(first + n))));
  } else if ('tell' in step) all[step.node]?.node.tell(step.tell);
  else if ('lose' in step) all[step.node]?.node.lose(step.lose);
  else if ('again' in step) all[step.node]?.node.tellAgain(step.again);
  else if ('connect' in step) await roamers[step.connect]?.connect(all[step.node] as Node);
  else if ('leave' in step) roamers[step.leave]?.leave();
  else for (let n = 0; n < step.turns; n += 1) await new Promise(setImmediate);
}

test.each([
  { what: 'all is held', maxUpdates: 1_000_000 },
  { what: 'a few are held', maxUpdates: 8 },
])(
  'clients that roam between nodes get every update in order and once, or a gap ($what)',
  async ({ maxUpdates }) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(steps, { maxLength: 60 }),
        fc.constantFrom(0, 3_000, 64 * 1024 * 1024),
        async (script, windowMaxBytes) => {
          const shared = openMemoryJournal({ maxUpdates, maxAgeMs: 0 });
          await play(script, shared, windowMaxBytes);
          await shared.close();
        },
      ),
      { numRuns: 200 },
    );
  },
);
