/**
 * 5: many topics. 16 publishers, each sending its next update when the last is acknowledged, to one of 10,000
 * topics at random, each of which one client receives: 10,000 clients on a topic each, or 1,000 clients with a
 * URI template each that matches 10 of the topics. Against the same with one topic and one client: the cost of
 * an update must follow its matches, not the clients.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

const PUBLISHERS = 16;
const TOPICS = 10_000;
const PER_TEMPLATE = 10;

const numbered = (index) => `topic/${index}`;
const grouped = (index) => `group/${Math.floor(index / PER_TEMPLATE)}/${index % PER_TEMPLATE}`;

export const topics = {
  number: 5,
  title: 'Many topics: publishes, each received by one client',
  variants: [
    {
      id: 'one',
      label: '1 topic, 1 client',
      clients: 1,
      topicOf: numbered,
      selectorOf: numbered,
      clientOf: () => 0,
      supports: (peer) => peer.topics === true,
    },
    {
      id: 'exact',
      label: '10,000 topics and clients',
      clients: TOPICS,
      topicOf: numbered,
      selectorOf: numbered,
      clientOf: (index) => index,
      supports: (peer) => peer.topics === true,
    },
    {
      id: 'template',
      label: '10,000 topics, 1,000 templates and clients',
      clients: TOPICS / PER_TEMPLATE,
      topicOf: grouped,
      selectorOf: (client) => `group/${client}/{member}`,
      clientOf: (index) => Math.floor(index / PER_TEMPLATE),
      supports: (peer) => peer.templates === true,
    },
  ],
  metrics: [
    { id: 'publishes', label: 'publishes/s', better: 'higher' },
    {
      id: 'toOne',
      label: '× 1 topic',
      better: 'higher',
      isRatio: true,
      base: 'one',
      of: 'publishes',
      chart: true,
    },
  ],
  sizes: {
    full: { warmUpMs: 1_500, measuredMs: 2_000 },
    quick: { warmUpMs: 1_000, measuredMs: 1_000 },
  },
  openFiles: () => TOPICS + 500,

  async run(server, { warmUpMs, measuredMs }, { clients: count, topicOf, selectorOf, clientOf }) {
    const publishers = await Publishers.open(server, PUBLISHERS);
    const clients = new Clients(server, publishers);
    const expected = new Uint32Array(count);
    const topicCount = count === 1 ? 1 : TOPICS;
    const publish = (publisher) => {
      const index = Math.floor(Math.random() * topicCount);
      expected[clientOf(index)] += 1;
      return publishers.publish(publisher, { topic: topicOf(index) });
    };
    try {
      await clients.open(count, { topicOf: selectorOf, strict: false });
      let isOver = false;
      const published = publishers.keepPublishing(() => !isOver, publish);
      published.catch(() => undefined);
      await sleep(warmUpMs);
      const before = publishers.acknowledged;
      const endWindow = startWindow(server);
      await sleep(measuredMs);
      const acknowledged = publishers.acknowledged - before;
      const usage = endWindow();
      isOver = true;
      await published;
      await clients.whenReceived(publishers.total);
      clients.check((index) => expected[index]);
      return { publishes: acknowledged / usage.seconds, ...usage };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
