/**
 * 9: through the journal. 200 updates a second, sent on time whether or not the last have been acknowledged, and ten
 * clients: from the moment an update is due to the moment a client reads it. The clients are at the node that is
 * published to, or at another one: then an update comes to them through the journal alone.
 */
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

const CLIENTS = 10;
const PUBLISHERS = 16;
const RATE = 200;

export const nodes = {
  number: 9,
  title: 'From publisher to subscriber: 200 updates/s, 10 clients',
  variants: [
    { id: 'one', label: 'through one node', supports: (peer) => peer.replay === true },
    {
      id: 'other',
      label: 'from one node to another',
      nodes: 2,
      supports: (peer) => peer.manyNodes === true,
    },
  ],
  metrics: [
    { id: 'p50', label: 'p50 ms', better: 'lower' },
    { id: 'p99', label: 'p99 ms', better: 'lower' },
  ],
  sizes: {
    full: { warmUpMs: 2_000, measuredMs: 5_000 },
    quick: { warmUpMs: 1_000, measuredMs: 2_000 },
  },

  async run(server, { warmUpMs, measuredMs }) {
    const publishers = await Publishers.open(server.node(0), PUBLISHERS);
    const clients = new Clients(server.node(server.ports.length - 1), publishers);
    try {
      await clients.open(CLIENTS, { sampleEvery: 1 });
      await publishers.publishAtRate(RATE, warmUpMs);
      await clients.whenReceived(publishers.total * CLIENTS);
      clients.recordLatencies();
      const endWindow = startWindow(server);
      const lateMs = await publishers.publishAtRate(RATE, measuredMs);
      await clients.whenReceived(publishers.total * CLIENTS);
      const usage = endWindow();
      clients.check(() => publishers.total, publishers.published);
      const [p50, p99] = clients.latencies.quantiles([0.5, 0.99]);
      return { p50, p99, lateMs, ...usage };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
