/**
 * 4: idle connections. Opens 10,000, 128 at a time, and counts how many per second have received the
 * response's head; then lets the server come to rest and takes the growth of its memory (PSS) since it had a
 * hundred of them. In the end one update has to reach them all.
 */
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { settledMemory, startWindow } from '../load/window.js';

const WARM_UP_CLIENTS = 100;

export const connections = {
  number: 4,
  title: 'Idle connections: 10,000',
  variants: [{ id: 'all', label: '' }],
  metrics: [
    { id: 'bytesPerClient', label: 'KB/client', better: 'lower', scale: 1 / 1_000, chart: true },
    { id: 'accepted', label: 'accepted/s', better: 'higher', chart: true },
  ],
  sizes: {
    full: { clients: 10_000, quietMs: 2_000 },
    quick: { clients: 3_000, quietMs: 500 },
  },
  openFiles: ({ clients }) => clients + 500,

  async run(server, { clients: count, quietMs }) {
    const publishers = await Publishers.open(server, 1);
    const clients = new Clients(server, publishers);
    try {
      await clients.open(WARM_UP_CLIENTS);
      await publishers.publish(0);
      await clients.whenReceived(WARM_UP_CLIENTS);
      const before = await settledMemory(server, { quietMs });

      const endWindow = startWindow(server);
      await clients.open(count, { sequences: [1] });
      const usage = endWindow();
      const after = await settledMemory(server, { quietMs });

      await publishers.publish(0);
      await clients.whenReceived(2 * WARM_UP_CLIENTS + count);
      clients.check((index) => (index < WARM_UP_CLIENTS ? 2 : 1), publishers.published);
      return {
        bytesPerClient: (after - before) / count,
        accepted: count / usage.seconds,
        ...usage,
      };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
