/**
 * 3: latency at a steady rate, from the moment an update is due to the moment a client reads it, over every
 * event of every client. The updates are sent on time whether or not the last have been acknowledged. The rate
 * that is near what a server can do lasts longer before it is measured: only then its code is all compiled, and
 * one that falls behind has done so.
 */
import { latencyAt } from '../load/steady-rate.js';

const PUBLISHERS = 64;

export const latency = {
  number: 3,
  title: 'Latency at a steady rate',
  variants: [
    { id: '1000', label: '1,000 clients, 20/s', clients: 1_000, rate: 20 },
    { id: '5000', label: '5,000 clients, 5/s', clients: 5_000, rate: 5 },
    { id: '100', label: '100 clients, 1,000/s', clients: 100, rate: 1_000, longer: 4 },
  ],
  metrics: [
    { id: 'p50', label: 'p50 ms', better: 'lower' },
    { id: 'p99', label: 'p99 ms', better: 'lower', chart: true },
  ],
  sizes: {
    full: { warmUpMs: 1_000, measuredMs: 3_000 },
    quick: { warmUpMs: 500, measuredMs: 1_000, variants: ['1000'] },
  },
  openFiles: () => 5_500,

  run(server, { warmUpMs, measuredMs }, { clients, rate, longer = 1 }) {
    return latencyAt(server, {
      publishers: PUBLISHERS,
      clients,
      rate,
      warmUpMs: warmUpMs * longer,
      measuredMs,
    });
  },
};
