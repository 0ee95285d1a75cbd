/**
 * 6: clients that stop reading. First the latency of 500 clients that read, at 100 updates/s. Then 500 more
 * connect and stop reading; updates of 10 KB are published one at a time until each of these is 4 MB behind, and the
 * same again until it is 6 MB, so that memory which is bounded does not grow any more. Then the latency of those
 * that read is taken as before. In the end the stalled ones read on, and everybody has to have everything.
 *
 * The server is brought to the same state before both: it has sent updates of that size, a server that has topics
 * has had more of them on another topic than a window holds, and a second of small updates has gone before.
 *
 * The growth of memory is the server's own (PSS): what the kernel holds in socket buffers is not in it.
 */
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { settledMemory, startWindow } from '../load/window.js';

const PUBLISHERS = 16;
const RATE = 100;
const LARGE_BYTES = 10_000;
/** More than the 64 MiB that koa-sse-hub's window holds. */
const ELSEWHERE_BYTES = 70_000_000;
const SETTLE = { quietMs: 1_000, atMostMs: 5_000 };

export const stalled = {
  number: 6,
  title: 'Half of 1,000 clients stop reading',
  variants: [{ id: 'all', label: '' }],
  metrics: [
    { id: 'p99Before', label: 'p99 ms before', better: 'lower' },
    { id: 'p99', label: 'p99 ms with them', better: 'lower' },
    { id: 'worse', label: '× before', better: 'lower', isRatio: true },
    { id: 'growthOne', label: 'KB/stalled, 4 MB behind', better: 'lower', scale: 1 / 1_000 },
    {
      id: 'growthTwo',
      label: 'KB/stalled, 6 MB behind',
      better: 'lower',
      scale: 1 / 1_000,
      chart: true,
    },
  ],
  sizes: {
    full: { half: 500, warmUpMs: 1_000, measuredMs: 4_000, behindBytes: 4_000_000 },
    quick: { half: 200, warmUpMs: 500, measuredMs: 2_000, behindBytes: 4_000_000 },
  },

  async run(server, { half, warmUpMs, measuredMs, behindBytes }) {
    const publishers = await Publishers.open(server, PUBLISHERS);
    const clients = new Clients(server, publishers);
    const publishSmall = async (durationMs) => {
      const expected = clients.received + Math.round((RATE * durationMs) / 1_000) * half;
      await publishers.publishAtRate(RATE, durationMs);
      await clients.whenReceived(expected);
    };
    const latencyOfReading = async () => {
      await publishSmall(warmUpMs);
      clients.recordLatencies();
      await publishSmall(measuredMs);
      const [p99] = clients.latencies.quantiles([0.99]);
      clients.latencies = undefined;
      return p99;
    };
    const publishLarge = async (byBytes) => {
      for (let bytes = 0; bytes < byBytes; bytes += LARGE_BYTES) {
        const expected = clients.received + half;
        await publishers.publish(0, { bytes: LARGE_BYTES });
        await clients.whenReceived(expected);
      }
    };
    try {
      if (server.peer.topics) await publishElsewhere(publishers);
      const elsewhere = publishers.total;
      await clients.open(half, { sampleEvery: 1, sequences: [...publishers.published] });
      await publishLarge(behindBytes);
      const endWindow = startWindow(server);
      const p99Before = await latencyOfReading();

      const joined = publishers.total;
      await clients.open(half, { sequences: [...publishers.published] });
      clients.pause((index) => index >= half);
      const before = await settledMemory(server, SETTLE);
      await publishLarge(behindBytes);
      const one = await settledMemory(server, SETTLE);
      await publishLarge(behindBytes / 2);
      const two = await settledMemory(server, SETTLE);
      const p99 = await latencyOfReading();
      const usage = endWindow();

      clients.resume();
      await clients.whenReceived((2 * publishers.total - elsewhere - joined) * half);
      const { total, published } = publishers;
      clients.check((index) => total - (index < half ? elsewhere : joined), published);
      return {
        p99Before,
        p99,
        worse: p99 / p99Before,
        growthOne: (one - before) / half,
        growthTwo: (two - before) / half,
        ...usage,
      };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};

/** Fills what a server remembers of the past, with updates that nobody is subscribed to. */
async function publishElsewhere(publishers) {
  let left = ELSEWHERE_BYTES / LARGE_BYTES;
  await publishers.keepPublishing(
    () => left-- > 0,
    (publisher) => publishers.publish(publisher, { topic: 'elsewhere', bytes: LARGE_BYTES }),
  );
}
