/**
 * 6: clients that stop reading. First the latency of 500 clients that read, at 100 updates/s. Then 500 more
 * connect and stop reading; updates of 10 KB are published one at a time until each of these is 4 MB behind, and the
 * same again until it is 2 MB, so that memory which is bounded does not grow any more. Then the latency of those
 * that read is taken as before. In the end the stalled ones read on, and everybody has to have everything.
 *
 * The growth of memory is the server's own (PSS): what the kernel holds in socket buffers is not in it.
 */
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { settledMemory, startWindow } from '../load/window.js';

const PUBLISHERS = 16;
const RATE = 100;
const LARGE_BYTES = 10_000;
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
    full: { half: 500, warmUpMs: 2_000, measuredMs: 3_000, behindBytes: 4_000_000 },
    quick: { half: 200, warmUpMs: 500, measuredMs: 1_000, behindBytes: 4_000_000 },
  },

  async run(server, { half, warmUpMs, measuredMs, behindBytes }) {
    const publishers = await Publishers.open(server, PUBLISHERS);
    const clients = new Clients(server, publishers);
    const latencyOfReading = async (durationMs) => {
      const expected = clients.received + Math.round((RATE * durationMs) / 1_000) * half;
      clients.recordLatencies();
      await publishers.publishAtRate(RATE, durationMs);
      await clients.whenReceived(expected);
      const [p99] = clients.latencies.quantiles([0.99]);
      clients.latencies = undefined;
      return p99;
    };
    const fallBehind = async (byBytes) => {
      for (let bytes = 0; bytes < byBytes; bytes += LARGE_BYTES) {
        const expected = clients.received + half;
        await publishers.publish(0, { bytes: LARGE_BYTES });
        await clients.whenReceived(expected);
      }
    };
    try {
      await clients.open(half, { sampleEvery: 1 });
      await latencyOfReading(warmUpMs);
      const endWindow = startWindow(server);
      const p99Before = await latencyOfReading(measuredMs);

      const joined = publishers.total;
      await clients.open(half, { sequences: [...publishers.published] });
      clients.pause((index) => index >= half);
      const before = await settledMemory(server, SETTLE);
      await fallBehind(behindBytes);
      const one = await settledMemory(server, SETTLE);
      await fallBehind(behindBytes / 2);
      const two = await settledMemory(server, SETTLE);
      const p99 = await latencyOfReading(measuredMs);
      const usage = endWindow();

      clients.resume();
      await clients.whenReceived((2 * publishers.total - joined) * half);
      const { total, published } = publishers;
      clients.check((index) => (index < half ? total : total - joined), published);
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
