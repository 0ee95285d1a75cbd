/**
 * 1: fan-out of one update at a time. A publisher sends an update to 1,000 clients; when all have received it
 * and it is acknowledged, the next. Counts deliveries per second.
 */
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

export const fanOut = {
  number: 1,
  title: 'Fan-out of one update at a time, 1,000 clients',
  variants: [{ id: 'all', label: '' }],
  metrics: [{ id: 'deliveries', label: 'deliveries/s', better: 'higher', chart: true }],
  sizes: {
    full: { clients: 1_000, warmUpMs: 1_500, measuredMs: 2_000 },
    quick: { clients: 1_000, warmUpMs: 700, measuredMs: 700 },
  },

  async run(server, { clients: count, warmUpMs, measuredMs }) {
    const publishers = await Publishers.open(server, 1);
    const clients = new Clients(server, publishers);
    try {
      await clients.open(count);
      let updates = 0;
      const publishFor = async (durationMs) => {
        const end = performance.now() + durationMs;
        const before = updates;
        while (performance.now() < end) {
          updates += 1;
          await Promise.all([clients.whenReceived(updates * count), publishers.publish(0)]);
        }
        return updates - before;
      };
      await publishFor(warmUpMs);
      const endWindow = startWindow(server);
      const measured = await publishFor(measuredMs);
      const usage = endWindow();
      clients.check(() => updates, publishers.published);
      return { deliveries: (measured * count) / usage.seconds, ...usage };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
