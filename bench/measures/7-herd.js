/**
 * 7: a herd. 5,000 clients connect at the same moment, each with the `Last-Event-ID` of 100 updates ago. Takes
 * the time until every one of them has received what it missed; then one more update has to reach them all.
 * The service has a journal, nchan a message buffer; the others have no replay.
 */
import { get } from 'node:http';
import { Clients } from '../load/clients.js';
import { Publishers } from '../load/publishers.js';
import { startWindow } from '../load/window.js';

const MISSED = 100;

export const herd = {
  number: 7,
  title: 'A herd: 5,000 clients reconnect at once, 100 updates behind',
  variants: [{ id: 'all', label: '', supports: (peer) => peer.replay === true }],
  metrics: [
    { id: 'seconds', label: 's until all are live', better: 'lower', chart: true },
    { id: 'replayed', label: 'replayed/s', better: 'higher' },
  ],
  sizes: { full: { clients: 5_000 }, quick: { clients: 2_000 } },
  openFiles: ({ clients }) => clients + 500,

  async run(server, { clients: count }) {
    const publishers = await Publishers.open(server, 1);
    const clients = new Clients(server, publishers);
    try {
      const lastEventId = await idOfNextUpdate(server, () => publishers.publish(0));
      for (let update = 0; update < MISSED; update++) await publishers.publish(0);

      const endWindow = startWindow(server);
      await Promise.all([
        clients.open(count, { lastEventId, inFlight: count, sequences: [1] }),
        clients.whenReceived(count * MISSED),
      ]);
      const usage = endWindow();

      await publishers.publish(0);
      await clients.whenReceived(count * (MISSED + 1));
      clients.check(() => MISSED + 1, publishers.published);
      return {
        seconds: usage.seconds,
        replayed: (count * MISSED) / usage.seconds,
        ...usage,
      };
    } finally {
      clients.close();
      publishers.close();
    }
  },
};

/** What a client that reads it would send back as its `Last-Event-ID`. */
function idOfNextUpdate({ peer, port }, publish) {
  return new Promise((resolve, reject) => {
    const { path } = peer.subscribe('bench');
    const headers = { Accept: 'text/event-stream' };
    const request = get({ host: '127.0.0.1', port, path, headers, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
        // Of an update: an id may come without one.
        const match = /^id: (.+)\n(?:event: .*\n)?data: /m.exec(text);
        if (match === null) return;
        resolve(match[1]);
        request.destroy();
      });
      publish().catch(reject);
    });
    request.on('error', reject);
  });
}
