/** `npm run soak -- --cluster`: its options, and what it prints. */
import { register } from 'node:module';
import { describeMachine } from '../../bench/machine.js';
import { conclude, summarizeHonest } from '../report.js';
import { numberFrom, UsageError } from '../usage.js';
import { failures } from './failures.js';
import { planOf } from './plan.js';

/** Everybody is there, and what was published before can be asked for again. */
const WARM_UP_MS = 3_000;
/** Failures that `--plan` shows. */
const PLANNED = 20;
const PERSISTENCE = ['always', 'everysec', 'none'];

/** Returns whether everything was as it must be. */
export async function soakNodes(options) {
  const { seed, persistence, minutes } = options;
  if (!PERSISTENCE.includes(persistence)) {
    throw new UsageError(`--persistence is ${PERSISTENCE.join(' or ')}.`);
  }
  const names = chosenFailures(options);
  const forMs = numberFrom(options, 'minutes') * 60_000;
  const nodes = numberFrom(options, 'nodes');
  console.log(`seed ${seed}, ${nodes} nodes, ${minutes} minutes`);
  register('../typescript.js', import.meta.url);
  const { soakCluster } = await import('./run.js');
  const result = await soakCluster({
    seed,
    names,
    nodes,
    persistence,
    crowd: numberFrom(options, 'crowd'),
    forMs,
    warmUpMs: Math.min(WARM_UP_MS, forMs),
    onStart: ({ nodes, redis }) =>
      console.log(
        `the nodes are processes ${nodes.map(({ pid }) => pid).join(', ')}; ${redis.url}`,
      ),
    onProgress,
  });
  if (result.honest !== undefined) summarizeHonest(result.honest);
  const date = new Date().toISOString();
  return conclude({ date, seed, names, machine: describeMachine(), ...result }, options);
}

export function listFailures() {
  return Object.keys(failures).sort().join('\n');
}

/** Prints what a seed makes fail. */
export function showFailures(options) {
  const plan = planOf({
    seed: options.seed,
    names: chosenFailures(options),
    nodes: numberFrom(options, 'nodes'),
  });
  for (let count = 0; count < PLANNED; count++) {
    const { name, node, quietMs } = plan.next().value;
    console.log(`${name}, node ${node + 1}, then ${(quietMs / 1_000).toFixed(1)} s of peace`);
  }
}

function chosenFailures({ failure: names = Object.keys(failures).sort() }) {
  for (const name of names) {
    if (!(name in failures))
      throw new UsageError(`There is no failure ${name}: see --cluster --list.`);
  }
  return names;
}

function onProgress({ at, name, node, backMs, counts, latency, failed }) {
  console.log(
    [
      `${at} s`,
      `${name} (${node})`,
      `back after ${(backMs / 1_000).toFixed(1)} s`,
      `${counts.acknowledged} published, ${counts.retried} tries again`,
      `${counts.received} received, p50 ${latency.p50.toFixed(1)} ms, ${counts.cut} streams cut`,
      ...Object.keys(failed).map((kind) => `FAILED: ${kind}`),
    ].join(' | '),
  );
}
