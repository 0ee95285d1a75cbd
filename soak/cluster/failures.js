/**
 * What fails while a cluster is in use. Each makes it, waits, and mends it: when it returns, everything runs again.
 *
 * The first half is about one node, the second about Redis and the way to it, which all nodes feel.
 */

/** How long something is away, in milliseconds: an instant, or longer than anybody waits for an answer. */
const AWAY_MS = [0, 3_000];
const LONG_AWAY_MS = [4_000, 8_000];

export const failures = {
  async nodeKilled({ node, pause }) {
    await node.kill();
    await pause(AWAY_MS);
    await node.start();
  },

  async nodeStopped({ node, pause }) {
    await node.stop();
    await pause(AWAY_MS);
    await node.start();
  },

  async nodeFrozen({ node, pause }) {
    node.pause();
    await pause(AWAY_MS);
    node.resume();
  },

  async allNodesKilled({ cluster, pause }) {
    await Promise.all(cluster.nodes.map((node) => node.kill()));
    await pause(AWAY_MS);
    await Promise.all(cluster.nodes.map((node) => node.start()));
  },

  /** As an operator does it who has changed nginx.conf. */
  async proxyReloaded({ cluster, pause }) {
    cluster.nginx.reload();
    await pause(AWAY_MS);
  },

  async redisKilled({ cluster, pause }) {
    await cluster.redis.kill();
    await pause(AWAY_MS);
    await cluster.redis.start();
  },

  async redisLongAway({ cluster, pause }) {
    await cluster.redis.stop();
    await pause(LONG_AWAY_MS);
    await cluster.redis.start();
  },

  /** Connections stay, and nothing is answered. */
  async redisFrozen({ cluster, pause }) {
    cluster.redis.pause();
    await pause(LONG_AWAY_MS);
    cluster.redis.resume();
  },

  async networkCut({ cluster, pause }) {
    await cluster.network.cut();
    await pause(AWAY_MS);
    await cluster.network.heal();
  },

  /** Packets are lost: nobody is told. */
  async networkSilent({ cluster, pause }) {
    cluster.network.hold();
    await pause(LONG_AWAY_MS);
    await cluster.network.heal();
  },

  /** What nodes send arrives, what Redis answers does not: nobody knows what was appended. */
  async answersLost({ cluster, pause }) {
    cluster.network.hold('answers');
    await pause(AWAY_MS);
    await cluster.network.heal();
  },

  /** Redis is gone, and a node with it. */
  async redisAndNodeKilled({ cluster, node, pause }) {
    await Promise.all([cluster.redis.kill(), node.kill()]);
    await pause(AWAY_MS);
    await cluster.redis.start();
    await node.start();
  },
};
