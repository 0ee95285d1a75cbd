/**
 * 9: through the journal. 200 updates a second, sent on time whether or not the last have been acknowledged, and ten
 * clients: from the moment an update is due to the moment a client reads it. The clients are at the node that is
 * published to, or at another one: then an update comes to them through the journal alone.
 */
import { latencyAt } from '../load/steady-rate.js';

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

  run(server, { warmUpMs, measuredMs }) {
    return latencyAt(server, {
      publishTo: server.node(0),
      subscribeAt: server.node(server.ports.length - 1),
      publishers: PUBLISHERS,
      clients: CLIENTS,
      rate: RATE,
      warmUpMs,
      measuredMs,
    });
  },
};
