/**
 * 11: token streams. 1,000 clients, each of which a handler sends 50 tokens a second, as an async generator yields them.
 * Counts the server's processor time for a token, how late tokens are read after they were due, and how long it takes
 * from the first `send` of a new stream to its first byte at the client: alone, and among the thousand.
 *
 * The tokens of a client are due at a millisecond of its own in each period of 20 ms (spread), as those of models are; or
 * those of all clients in the same turn (together). The generators and their timer are the same for all servers, and part
 * of what is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Samples } from '../load/samples.js';
import { TokenStreams } from '../load/token-streams.js';
import { startWindow } from '../load/window.js';

const PERIOD_MS = 20;

export const tokenStreams = {
  number: 11,
  title: '1,000 token streams of 50 tokens/s',
  serves: 'tokens',
  variants: [
    { id: 'spread', label: 'spread', phaseOf: (index) => index % PERIOD_MS },
    { id: 'together', label: 'together', phaseOf: () => 0 },
  ],
  metrics: [
    { id: 'cpu', label: 'µs of CPU/token', better: 'lower', chart: true },
    { id: 'p50', label: 'p50 ms late', better: 'lower' },
    { id: 'p99', label: 'p99 ms late', better: 'lower', chart: true },
    { id: 'firstAlone', label: 'first byte ms, alone', better: 'lower' },
    { id: 'firstAmong', label: 'first byte ms, among them', better: 'lower' },
  ],
  sizes: {
    full: { clients: 1_000, warmUpMs: 2_000, measuredMs: 4_000, firstBytes: 100 },
    quick: { clients: 1_000, warmUpMs: 1_000, measuredMs: 2_000, firstBytes: 50 },
  },

  async run(server, { clients, warmUpMs, measuredMs, firstBytes }, { phaseOf }) {
    const streams = new TokenStreams(server);
    try {
      await medianFirstByte(streams, firstBytes); // Compiles what a request takes.
      const firstAlone = await medianFirstByte(streams, firstBytes);
      await streams.open(clients, phaseOf);
      await sleep(warmUpMs);
      const before = streams.received;
      streams.recordLateness();
      const endWindow = startWindow(server);
      await sleep(measuredMs);
      const usage = endWindow();
      const received = streams.received - before;
      const { lateness } = streams;
      streams.lateness = undefined;
      const firstAmong = await medianFirstByte(streams, firstBytes);
      streams.check();
      const [p50, p99] = lateness.quantiles([0.5, 0.99]);
      const cpu = (usage.serverCpu * usage.seconds * 1e6) / received;
      return { cpu, p50, p99, firstAlone, firstAmong, tokens: received / usage.seconds, ...usage };
    } finally {
      streams.close();
    }
  },
};

async function medianFirstByte(streams, count) {
  const samples = new Samples();
  for (let index = 0; index < count; index++) samples.add(await streams.firstByte());
  return samples.quantiles([0.5])[0];
}
