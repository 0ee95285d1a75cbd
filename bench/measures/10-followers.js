/**
 * 10: what an update costs Redis, and each node that follows it. Updates go to one of the nodes, 500 a second one by one, or
 * as NDJSON as fast as they are taken; there are no subscribers. Counts processor time, and how Redis has grown.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

const PUBLISHERS = 4;
const RATE = 500;
const NDJSON_LINES = 100;
const TOPICS = 10;
/** Followers have read by then what was acknowledged last. */
const FOLLOWED_MS = 300;

const supports = (peer) => peer.manyNodes === true;
const someTopics = (number) => `https://example.com/topics/${number % TOPICS}`;
const ownTopic = (number) => `https://example.com/topics/${number}`;

export const followers = {
  number: 10,
  title: 'What an update costs Redis and each node, 100 bytes of data',
  variants: [
    { id: 'single1', label: 'one by one, 1 node', nodes: 1, topicOf: someTopics, supports },
    { id: 'single2', label: 'one by one, 2 nodes', nodes: 2, topicOf: someTopics, supports },
    { id: 'single4', label: 'one by one, 4 nodes', nodes: 4, topicOf: someTopics, supports },
    { id: 'many1', label: 'NDJSON, 1 node', nodes: 1, isMany: true, topicOf: someTopics, supports },
    {
      id: 'many4',
      label: 'NDJSON, 4 nodes',
      nodes: 4,
      isMany: true,
      topicOf: someTopics,
      supports,
    },
    { id: 'topics', label: 'a topic each, 1 node', nodes: 1, topicOf: ownTopic, supports },
  ],
  metrics: [
    { id: 'redisMicroseconds', label: 'µs of Redis', better: 'lower' },
    { id: 'ownMicroseconds', label: 'µs of the publishing node', better: 'lower' },
    { id: 'followedMicroseconds', label: 'µs of each other node', better: 'lower' },
    { id: 'bytes', label: 'bytes of Redis', better: 'lower' },
  ],
  sizes: {
    full: { warmUpMs: 2_000, measuredMs: 6_000 },
    quick: { warmUpMs: 1_000, measuredMs: 2_000 },
  },

  async run(server, { warmUpMs, measuredMs }, { nodes, isMany, topicOf }) {
    const publishers = await Publishers.open(server.node(0), PUBLISHERS);
    let number = 0;
    const publishFor = async (durationMs) => {
      const before = publishers.acknowledged;
      if (isMany) {
        const end = performance.now() + durationMs;
        await publishers.keepPublishing(
          () => performance.now() < end,
          (publisher) => publishers.publishMany(publisher, NDJSON_LINES, topicOf(number++)),
        );
      } else {
        await publishers.publishAtRate(RATE, durationMs, () => topicOf(number++));
      }
      await sleep(FOLLOWED_MS);
      return publishers.acknowledged - before;
    };
    try {
      await publishFor(warmUpMs);
      const memory = await server.redis.memory();
      const others = () =>
        Array.from({ length: nodes - 1 }, (_, index) => server.cpuSecondsOfNode(index + 1));
      const sum = (list) => list.reduce((total, value) => total + value, 0);
      const before = { own: server.cpuSecondsOfNode(0), others: sum(others()) };
      const endWindow = startWindow(server);
      const updates = await publishFor(measuredMs);
      const usage = endWindow();
      const perUpdate = (seconds) => (seconds * 1e6) / updates;
      return {
        redisMicroseconds: perUpdate(usage.redisCpu * usage.seconds),
        ownMicroseconds: perUpdate(server.cpuSecondsOfNode(0) - before.own),
        followedMicroseconds: perUpdate((sum(others()) - before.others) / (nodes - 1)),
        bytes: ((await server.redis.memory()) - memory) / updates,
        ...usage,
      };
    } finally {
      publishers.close();
    }
  },
};
