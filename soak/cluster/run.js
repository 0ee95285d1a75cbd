/**
 * A cluster among honest clients: three nodes over one Redis, behind nginx, while one thing after the other fails.
 *
 * Everybody is told of an update under the same id, in the same order, once, whichever node they are at and however
 * often they come back; and in the end every node's journal is just that.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { startCluster } from '../../test/support/cluster.js';
import { startClients } from '../clients.js';
import { JWT_KEY, token } from '../tokens.js';
import { failures } from './failures.js';
import { planOf } from './plan.js';

/** Beside those of a deployment. Heartbeats are watched, and nothing that was published is trimmed. */
const SETTINGS = { JWT_KEY, HEARTBEAT_MS: '1000', SUBSCRIPTIONS: 'true' };
/** What was mended has so long until every node publishes again. */
const MAX_BACK_MS = 20_000;
/** Of what each node has logged, the newest for the report, in characters. */
const KEPT_LOG = 20_000;
/** A line of a stack, or of a warning of Node's: both say that something was not handled. */
const UNHANDLED = /^\s+at .+:\d+:\d+\)?$|^\(node:\d+\) |Unhandled|Uncaught/m;
/** A node that was killed leaves presence after half a minute: shorter runs do not wait for that. */
const PRESENCE_FROM_MS = 60_000;
const MAX_PRESENCE_MS = 60_000;
const PROBE = new URLSearchParams({ topic: 'https://probing.example/' }).toString();
const AUTHORIZATION = `Bearer ${token({ publish: ['https://probing.example/{+path}'] })}`;

/**
 * @param options.names the failures to choose from.
 * @param options.persistence what Redis has on its disk: `always`, `everysec` or `none`. Only with the first nothing is
 *   lost.
 * @param options.crowd how many subscribers there are beside those who are always there.
 * @param options.onProgress called after each failure.
 */
export async function soakCluster({
  seed,
  names,
  nodes,
  crowd,
  persistence,
  forMs,
  warmUpMs,
  onStart,
  onProgress,
}) {
  const result = { events: [], failures: [] };
  const cluster = await startCluster({
    nodes,
    env: SETTINGS,
    redis: { persistence },
  });
  onStart(cluster);
  const honest = startClients('honest/main.js');
  try {
    const { port } = cluster.nginx;
    await honest.ask('start', { port, seed, proxied: false, crowd, outages: true });
    await sleep(warmUpMs);
    await honest.ask('judge', true);
    const begun = performance.now();
    for (const planned of planOf({ seed, names, nodes })) {
      if (performance.now() - begun >= forMs) break;
      const event = await makeFail(cluster, planned);
      result.events.push(event);
      const { counts, latency, failures: failed } = await honest.ask('window');
      onProgress({
        at: Math.round((performance.now() - begun) / 1_000),
        ...event,
        counts,
        latency,
        failed,
      });
      await sleep(planned.quietMs);
    }
    if (forMs >= PRESENCE_FROM_MS) result.presence = await presence(cluster, honest);
    result.honest = await honest.ask(
      'finish',
      { nodes: cluster.nodes.map((node) => node.port) },
      { withinMs: 300_000 },
    );
    result.failures = verdictOn(result, cluster);
  } catch (error) {
    result.failures = [`the soak could not go on: ${error.stack}`, ...crashesOf(cluster)];
  } finally {
    result.logs = cluster.nodes.map((node) => ({
      name: node.name,
      log: node.log().slice(-KEPT_LOG),
    }));
    honest.kill();
    await cluster.close();
  }
  return result;
}

/** Makes something fail, mends it, and takes the time until all nodes publish again. */
async function makeFail(cluster, { name, node: index, share }) {
  const node = cluster.nodes[index];
  const pause = ([min, max]) => sleep(min + share * (max - min));
  await failures[name]({ cluster, node, pause });
  const mended = performance.now();
  const late = [];
  await Promise.all(
    cluster.nodes.map(async (candidate) => {
      while (!(await publishes(candidate))) {
        if (performance.now() - mended < MAX_BACK_MS) await sleep(20);
        else return late.push(candidate.name);
      }
    }),
  );
  return { name, node: node.name, backMs: performance.now() - mended, late };
}

async function publishes({ url }) {
  try {
    const answer = await fetch(`${url}/hub`, {
      method: 'POST',
      body: PROBE,
      headers: {
        Authorization: AUTHORIZATION,
        'Content-Type': 'application/x-www-form-urlencoded',
      },
      signal: AbortSignal.timeout(MAX_BACK_MS),
    });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

/** Resolves when every node lists all subscribers that are there, and nobody else; or with what they list in the end. */
async function presence(cluster, honest) {
  const deadline = performance.now() + MAX_PRESENCE_MS;
  for (;;) {
    const { subscribers } = await honest.ask('stay', true);
    const lists = await Promise.all(cluster.nodes.map(subscribersOf));
    const isSame = lists.every(
      (list) => list.length === subscribers && list.join() === lists[0].join(),
    );
    if (isSame || performance.now() > deadline) {
      return { isSame, subscribers, listed: lists.map((list) => list.length) };
    }
    await sleep(500);
  }
}

/** The names of those who are subscribed, as a node knows them. */
async function subscribersOf({ url }) {
  const headers = { Authorization: `Bearer ${token({ subscribe: ['*'] })}` };
  const answer = await fetch(`${url}/hub/subscriptions`, { headers });
  const { subscriptions = [] } = await answer.json();
  return [...new Set(subscriptions.map(({ subscriber }) => subscriber))].sort();
}

/** A line for each thing that was not as it must be. */
function verdictOn({ events, honest, presence }, cluster) {
  const lines = crashesOf(cluster);
  for (const [kind, { count, examples }] of Object.entries(honest.failures)) {
    lines.push(`${kind}, ${count} times: ${examples.slice(0, 2).join('; ')}`);
  }
  for (const { name, late } of events.filter((event) => event.late.length > 0)) {
    lines.push(
      `after ${name}, ${late.join(' and ')} did not publish again in ${MAX_BACK_MS / 1_000} s`,
    );
  }
  if (presence?.isSame === false) {
    const { subscribers, listed } = presence;
    lines.push(`${subscribers} subscribers are there; the nodes list ${listed.join(', ')}`);
  }
  if (honest.counts.gaps > 0)
    lines.push(`${honest.counts.gaps} gaps were told, and nothing was trimmed`);
  if (honest.counts.unanswered > 0) {
    lines.push(`${honest.counts.unanswered} publishes got no answer in time`);
  }
  if (honest.counts.acknowledged === 0) lines.push('nothing was published');
  return lines;
}

function crashesOf({ nodes }) {
  return nodes.flatMap((node) => {
    const lines = node.crashes.map(
      ({ code, signal }) => `${node.name} ended by itself: ${signal ?? code}`,
    );
    const unhandled = UNHANDLED.exec(node.log());
    if (unhandled) lines.push(`${node.name} logged what was not handled: ${unhandled[0].trim()}`);
    return lines;
  });
}
