/**
 * 8: publishes acknowledged per second: one at a time, on 50 connections, and as NDJSON (1,000 updates a
 * request, 4 requests in flight). One client is subscribed and has to receive them all.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

const NDJSON_LINES = 1_000;

export const publishing = {
  number: 8,
  title: 'Publishes acknowledged, one client',
  variants: [
    { id: 'one', label: 'one at a time', publishers: 1 },
    { id: 'fifty', label: '50 connections', publishers: 50 },
    { id: 'ndjson', label: 'NDJSON', publishers: 4, supports: (peer) => peer.ndjson === true },
  ],
  metrics: [{ id: 'acknowledged', label: 'updates/s', better: 'higher', chart: true }],
  sizes: {
    full: { warmUpMs: 1_500, measuredMs: 2_000 },
    quick: { warmUpMs: 1_000, measuredMs: 500, variants: ['fifty', 'ndjson'] },
  },

  async run(server, { warmUpMs, measuredMs }, { id, publishers: inFlight }) {
    const publishers = await Publishers.open(server, inFlight);
    const clients = new Clients(server, publishers);
    try {
      await clients.open(1);
      let isOver = false;
      const published = publishers.keepPublishing(
        () => !isOver,
        id === 'ndjson'
          ? (publisher) => publishers.publishMany(publisher, NDJSON_LINES)
          : undefined,
      );
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
      clients.check(() => publishers.total, publishers.published);
      return { acknowledged: acknowledged / usage.seconds, ...usage };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};
