/**
 * 2: fan-out under load. 64 publishers, each sending its next update when the last is acknowledged, and 1,000
 * clients. Counts deliveries per second as they arrive, and how old an update is when it does.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

export const underLoad = {
  number: 2,
  title: 'Fan-out under load: 64 publishes in flight, 1,000 clients',
  variants: [{ id: 'all', label: '' }],
  metrics: [
    { id: 'deliveries', label: 'deliveries/s', better: 'higher', chart: true },
    { id: 'p50', label: 'p50 ms', better: 'lower' },
    { id: 'p99', label: 'p99 ms', better: 'lower', chart: true },
  ],
  sizes: {
    full: { clients: 1_000, publishers: 64, warmUpMs: 1_500, measuredMs: 2_000 },
    quick: { clients: 1_000, publishers: 64, warmUpMs: 700, measuredMs: 700 },
  },

  async run(server, { clients: count, publishers: inFlight, warmUpMs, measuredMs }) {
    const publishers = await Publishers.open(server, inFlight);
    const clients = new Clients(server, publishers);
    try {
      await clients.open(count);
      let isOver = false;
      const published = publishers.keepPublishing(() => !isOver);
      // Measured below; a failure in between must not go unhandled until then.
      published.catch(() => undefined);
      await sleep(warmUpMs);
      const before = clients.received;
      const acknowledgedBefore = publishers.acknowledged;
      clients.recordLatencies();
      const endWindow = startWindow(server);
      await sleep(measuredMs);
      const received = clients.received - before;
      const acknowledged = publishers.acknowledged - acknowledgedBefore;
      const usage = endWindow();
      const { latencies } = clients;
      clients.latencies = undefined;
      isOver = true;
      await published;
      await clients.whenReceived(publishers.total * count);
      clients.check(() => publishers.total, publishers.published);
      const [p50, p99] = latencies.quantiles([0.5, 0.99]);
      return {
        deliveries: received / usage.seconds,
        publishes: acknowledged / usage.seconds,
        p50,
        p99,
        ...usage,
      };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
