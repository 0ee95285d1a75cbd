import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { Journal } from '../src/journal/journal.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { HubClient, openTestHub, selection, type TestHub, update } from './support/hub.js';
import { NodeJournal } from './support/node-journal.js';

const NODES = 2;
const TOPICS = ['a', 'b', 'c'];
const ASKED = [['a'], ['b', 'c'], ['a', 'b'], ['a']];

interface Node extends TestHub {
  readonly node: NodeJournal;
}

interface Published {
  readonly topics: readonly string[];
  readonly isLast: boolean;
}

/** A client that comes back with its last id after each end of its stream, until it is told that all is over. */
class Follower {
  readonly asked: readonly string[];
  readonly #all: readonly Published[];
  #client = new HubClient();
  #lastEventId = 'earliest';
  readonly #received: string[] = [];
  isOver = false;

  /** @param all - what is published, in order; the data of each is its place. */
  constructor(asked: readonly string[], all: readonly Published[]) {
    this.asked = asked;
    this.#all = all;
    this.#client.leave();
  }

  get received(): string[] {
    return [...this.#received, ...this.#client.data];
  }

  /** What it is to receive, if nothing ends before. */
  get owed(): string[] {
    return this.#all.flatMap(({ topics }, n) => (this.#asksFor(topics) ? [String(n)] : []));
  }

  /** Whether all that it asks for has ended with the last that it has received. */
  get hasEnded(): boolean {
    const through = Number(this.received.at(-1) ?? -1) + 1;
    return this.asked.every((topic) => {
      const last = this.#all.slice(0, through).findLast(({ topics }) => topics.includes(topic));
      return last?.isLast === true;
    });
  }

  /** Comes to a node, wherever it was before. Resolves when it has been answered. */
  async connect({ hub }: Node): Promise<void> {
    if (this.isOver) return;
    this.#received.push(...this.#client.data);
    this.#lastEventId = this.#client.lastEventId ?? this.#lastEventId;
    this.#client.leave();
    this.#client = new HubClient(this.#lastEventId);
    const wanted = selection([...this.asked]);
    const start = await hub.locate(this.#lastEventId, wanted);
    this.isOver = await hub.isOver(wanted, start);
    if (!this.isOver) hub.subscribe(this.#client.stream, wanted, { start });
  }

  /** Resolves when its stream has ended, or it has all that is owed. */
  async settled(): Promise<void> {
    const missing = this.owed.length - this.#received.length;
    await Promise.race([this.#client.ended, this.#client.has(missing)]);
    // What has come with the last update has an end, if there is one.
    if (this.hasEnded) await this.#client.ended;
  }

  leave(): void {
    this.#client.leave();
  }

  #asksFor(topics: readonly string[]): boolean {
    return topics.some((topic) => this.asked.includes(topic));
  }
}

type Step =
  | { publish: Published[] }
  | { tell: number; node: number }
  | { lose: number; node: number }
  | { connect: number; node: number }
  | { turns: number };

const nodes = fc.nat(NODES - 1);
const published = fc.record({
  topics: fc.subarray(TOPICS, { minLength: 1 }),
  isLast: fc.boolean(),
});
const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ publish: fc.array(published, { minLength: 1, maxLength: 3 }) }),
  },
  { weight: 3, arbitrary: fc.record({ tell: fc.nat(4), node: nodes }) },
  { weight: 1, arbitrary: fc.record({ lose: fc.nat(4), node: nodes }) },
  { weight: 4, arbitrary: fc.record({ connect: fc.nat(ASKED.length - 1), node: nodes }) },
  { weight: 2, arbitrary: fc.record({ turns: fc.nat(4) }) },
);

async function play(script: readonly Step[], shared: Journal, windowMaxBytes: number) {
  const all: Node[] = [];
  for (let n = 0; n < NODES; n += 1) {
    const node = new NodeJournal(shared);
    all.push({ ...(await openTestHub({ journal: node, windowMaxBytes })), node });
  }
  const updates: Published[] = [];
  const followers = ASKED.map((asked) => new Follower(asked, updates));
  const connecting = new Map<Follower, Promise<void>>();
  for (const step of script) {
    if ('publish' in step) {
      const first = updates.push(...step.publish) - step.publish.length;
      const list = step.publish.map(({ topics, isLast }, n) =>
        update([...topics], String(first + n), { last: isLast, reopen: true }),
      );
      await shared.append(list);
    } else if ('tell' in step) all[step.node]?.node.tell(step.tell);
    else if ('lose' in step) all[step.node]?.node.lose(step.lose);
    else if ('connect' in step) {
      const follower = followers[step.connect] as Follower;
      // It may wait until its node has come as far as it has.
      if (connecting.has(follower)) continue;
      const connected = follower.connect(all[step.node] as Node);
      connecting.set(
        follower,
        connected.finally(() => connecting.delete(follower)),
      );
    } else for (let n = 0; n < step.turns; n += 1) await new Promise(setImmediate);
  }

  for (const { node } of all) node.tell();
  await Promise.all(connecting.values());
  for (const [n, follower] of followers.entries()) {
    for (let times = 0; !follower.isOver; times += 1) {
      // Once for what it has missed, once for an id at the end of that, and once to be told.
      expect(times).toBeLessThan(4);
      await follower.connect(all[n % NODES] as Node);
      if (follower.isOver) break;
      await follower.settled();
      if (!follower.hasEnded) break;
    }
    const { received, owed, isOver, hasEnded } = follower;
    expect(received).toEqual(isOver ? owed.slice(0, received.length) : owed);
    expect(isOver).toBe(hasEnded);
    follower.leave();
  }
  for (const { hub } of all) hub.close();
}

test('clients that come back after each end get all in order and once, and stop when all has ended', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(steps, { maxLength: 40 }),
      fc.constantFrom(0, 2_000, 64 * 1024 * 1024),
      async (script, windowMaxBytes) => {
        const shared = openMemoryJournal({ maxUpdates: 1_000_000, maxAgeMs: 0 });
        await play(script, shared, windowMaxBytes);
        await shared.close();
      },
    ),
    { numRuns: 300 },
  );
});
