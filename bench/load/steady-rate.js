/** Publishes on time, and takes how late clients receive it: from the moment an update is due to the moment it is read. */
import { Clients } from './clients.js';
import { Publishers } from './publishers.js';
import { startWindow } from './window.js';

/**
 * @param server whose processor time is taken.
 * @param load.publishTo and load.subscribeAt: the servers of the publishers and of the clients.
 */
export async function latencyAt(server, load) {
  const {
    publishTo = server,
    subscribeAt = server,
    publishers: connections,
    clients: count,
  } = load;
  const { rate, warmUpMs, measuredMs } = load;
  const publishers = await Publishers.open(publishTo, connections);
  const clients = new Clients(subscribeAt, publishers);
  try {
    await clients.open(count, { sampleEvery: 1 });
    await publishers.publishAtRate(rate, warmUpMs);
    await clients.whenReceived(publishers.total * count);
    clients.recordLatencies();
    const endWindow = startWindow(server);
    const lateMs = await publishers.publishAtRate(rate, measuredMs);
    await clients.whenReceived(publishers.total * count);
    const usage = endWindow();
    clients.check(() => publishers.total, publishers.published);
    const [p50, p99] = clients.latencies.quantiles([0.5, 0.99]);
    return { p50, p99, lateMs, ...usage };
  } finally {
    clients.close();
    publishers.close();
  }
}
