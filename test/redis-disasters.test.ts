import { setTimeout as wait } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { Random } from '../soak/random.js';
import type { Entry, Journal } from '../src/journal/journal.js';
import { openRedisJournal } from '../src/journal/redis/redis.js';
import { dataOf, KEEP_ALL, readAll, until, update } from './support/journal-contract.js';
import { type RedisServer, startRedis } from './support/redis-server.js';
import { startTcpProxy, type TcpProxy } from './support/tcp-proxy.js';

const NODES = 3;
/** More of them take longer; a seed repeats the choice of one run. */
const DISASTERS = Number(process.env.DISASTERS ?? 8);
const SEED = process.env.SEED ?? `${Date.now()}`;

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

interface Node {
  readonly journal: Journal;
  readonly proxy: TcpProxy;
  readonly told: Entry[];
  readonly lost: string[];
}

async function startNode(server: RedisServer): Promise<Node> {
  const proxy = await startTcpProxy(server.port);
  opened.push(() => proxy.close());
  const journal = await openRedisJournal({
    ...KEEP_ALL,
    sync: 'disk',
    url: `redis://127.0.0.1:${proxy.port}`,
  });
  opened.push(() => journal.close());
  const node: Node = { journal, proxy, told: [], lost: [] };
  await journal.follow({
    entries: (entries) => node.told.push(...entries),
    lost: (through) => node.lost.push(through),
  });
  return node;
}

test(`whatever happens to Redis and the network (SEED=${SEED}), every node is told of every update once, in order, and an acknowledged one is there`, async () => {
  const random = new Random(SEED);
  const server = await startRedis({ persistence: 'always' });
  opened.push(() => server.close());
  const nodes = await Promise.all(Array.from({ length: NODES }, () => startNode(server)));
  let isOver = false;
  const acknowledged = new Map<string, string>();

  /** Each update goes to any of the nodes, again and again until one has acknowledged it. */
  const publish = async (publisher: number): Promise<void> => {
    for (let n = 0; !isOver; n++) {
      const name = `${publisher}/${n}`;
      const size = 1 + (n % 5);
      const updates = Array.from({ length: size }, (_, part) => update(`${name}/${part}`));
      const options = n % 2 === 0 ? { key: { key: name, digest: 'd' } } : {};
      const owned = n % 2 === 0 ? updates : updates.map((each) => ({ ...each, id: each.data }));
      for (let attempt = 0; ; attempt++) {
        const node = nodes[(publisher + n + attempt) % NODES] as Node;
        try {
          const refs = await node.journal.append(owned, options);
          for (const [part, ref] of refs.entries()) {
            acknowledged.set(`${name}/${part}`, ref.position);
          }
          break;
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/UNAVAILABLE|UNKNOWN/) });
          await wait(20);
        }
      }
      await wait(2);
    }
  };

  const disasters = [
    async () => {
      await server.kill();
      await server.start();
    },
    async () => {
      server.pause();
      await wait(300);
      server.resume();
    },
    ...nodes.flatMap(({ proxy }) => [
      async () => {
        await proxy.cut();
        await wait(50);
        await proxy.heal();
      },
      async () => {
        proxy.hold();
        await wait(100);
        await proxy.heal();
      },
      async () => {
        proxy.hold('answers');
        await wait(100);
        await proxy.heal();
      },
    ]),
  ];
  const publishers = Promise.all(Array.from({ length: 6 }, (_, n) => publish(n)));
  for (let n = 0; n < DISASTERS; n++) {
    const disaster = disasters[random.int(0, disasters.length - 1)] as () => Promise<void>;
    await disaster();
    await wait(150);
  }
  isOver = true;
  await publishers;

  const reader = await openRedisJournal({ ...KEEP_ALL, url: server.url });
  opened.push(() => reader.close());
  const held = await readAll(reader);
  expect(new Set(dataOf(held)).size).toBe(held.length);
  const places = new Map(held.map(({ data, position }) => [data, position]));
  expect([...acknowledged].filter(([data, position]) => places.get(data) !== position)).toEqual([]);
  for (const { told, lost } of nodes) {
    await until(async () => told.length >= held.length);
    expect(told).toEqual(held);
    expect(lost).toEqual([]);
  }
}, 120_000);
