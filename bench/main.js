/**
 * `npm run bench`: koa-sse-hub beside its peers, in one run.
 *
 * Method: for each measure, rounds; in each round every server in turn (A B C A B C …), so that what changes on
 * the machine meanwhile changes for all. A server is a new process each time, alone on its core; the load
 * generator is this process, on another core, and its own share of it is part of the result. Every round checks
 * that each event arrived exactly once and in order; if one did not, the run fails. What is reported is the
 * median of the rounds, their spread, and the median of the rounds' ratios to the floor.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { describeMachine, openFilesLimit, pinGenerator, warnings } from './machine.js';
import { measures } from './measures/index.js';
import { canServe, killServers, peers, start } from './peers.js';
import { terminalTable } from './report.js';
import { ratioTo, summarize } from './statistics.js';

class UsageError extends Error {}

const HELP = `npm run bench -- [options]

  --quick           about a minute: one short round of measures 1, 2, 4 and 8 without naive Koa, unless others are named
  --measures 1,2    only these measures (1 to 11)
  --peers a,b       only these servers: ${peers.map(({ id }) => id).join(', ')}
  --rounds N        instead of 5
  --output FILE     where the results go, instead of bench/results/results.json
  --cpu-prof        writes CPU profiles of the Node servers to bench/results/profiles
`;

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    measures: { type: 'string' },
    peers: { type: 'string' },
    rounds: { type: 'string' },
    output: { type: 'string' },
    'cpu-prof': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
/** What changes when the hot paths do; the others take longer. */
const QUICK_MEASURES = '1,2,4,8';
const QUICK_PEERS = 'floor,better-sse,nchan,hub-memory,hub-lmdb';

/** How long a round of one server may take before it counts as failed. */
const ROUND_MS = 120_000;

const resultsDirectory = fileURLToPath(new URL('results/', import.meta.url));

process.on('exit', killServers);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

if (options.help) {
  console.log(HELP);
} else {
  try {
    process.exitCode = (await bench()) ? 0 : 1;
  } catch (error) {
    console.error(error instanceof UsageError ? `${error.message}\n\n${HELP}` : error);
    process.exitCode = 1;
  }
}

/** Returns whether nothing has failed. */
async function bench() {
  const size = options.quick ? 'quick' : 'full';
  const rounds = Number(options.rounds ?? (options.quick ? 1 : 5));
  if (!Number.isInteger(rounds) || rounds < 1)
    throw new UsageError('--rounds is a whole number from 1.');
  const wantedMeasures = options.measures ?? (options.quick ? QUICK_MEASURES : undefined);
  const wantedPeers = options.peers ?? (options.quick ? QUICK_PEERS : undefined);
  const chosenMeasures = choose(
    measures,
    wantedMeasures,
    ({ number }) => String(number),
    'measure',
  );
  const chosenPeers = choose(peers, wantedPeers, ({ id }) => id, 'peer').filter(isThere);
  requireOpenFiles(chosenMeasures, size);
  for (const warning of warnings()) console.warn(warning);
  mkdirSync(resultsDirectory, { recursive: true });
  pinGenerator();

  const results = {
    date: new Date().toISOString(),
    size,
    rounds,
    machine: describeMachine(),
    measures: [],
  };
  const file = options.output ?? `${resultsDirectory}results.json`;
  for (const measure of chosenMeasures) {
    const result = await runMeasure(measure, chosenPeers, { size, rounds });
    results.measures.push(result);
    // After each measure, so that a run that is broken off leaves what it has.
    writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
    console.log(`\n${terminalTable(result)}`);
  }
  console.log(`Results are in ${file}`);
  return !results.measures.some(({ servers }) =>
    servers.some(({ variants }) =>
      Object.values(variants).some(({ error }) => error !== undefined),
    ),
  );
}

async function runMeasure(measure, chosenPeers, { size, rounds }) {
  const { number, title, metrics, serves } = measure;
  const candidates = chosenPeers.filter((peer) => canServe(peer, serves));
  const { variants: only } = measure.sizes[size];
  const variants = measure.variants.filter(({ id }) => only?.includes(id) ?? true);
  const turns = variants.flatMap((variant) =>
    candidates
      .filter((peer) => variant.supports === undefined || variant.supports(peer))
      .map((peer) => ({ peer, variant, values: [], error: undefined })),
  );
  for (let round = 1; round <= rounds; round++) {
    for (const turn of turns) {
      if (turn.error !== undefined) continue;
      progress(
        `measure ${number}, round ${round} of ${rounds}: ${turn.peer.label} ${turn.variant.label}`,
      );
      try {
        turn.values.push(await runOnce(measure, turn, size));
      } catch (error) {
        turn.error = error.message;
        progress('');
        console.error(
          `measure ${number}, ${turn.peer.label} ${turn.variant.label}: ${error.message}`,
        );
      }
    }
  }
  progress('');
  return {
    number,
    title,
    metrics,
    variants: variants.map(({ id, label }) => ({ id, label })),
    sizes: measure.sizes[size],
    servers: candidates
      .map(({ id, label }) => ({ id, label, variants: summarizeServer(id, turns, measure) }))
      .filter((server) => Object.keys(server.variants).length > 0),
  };
}

async function runOnce(measure, { peer, variant }, size) {
  const cpuProfile = options['cpu-prof']
    ? `${resultsDirectory}profiles/${measure.number}-${variant.id}-${peer.id}`
    : undefined;
  const server = await start(peer, { cpuProfile, nodes: variant.nodes, serves: measure.serves });
  let deadline;
  try {
    return await Promise.race([
      measure.run(server, measure.sizes[size], variant),
      new Promise((_, reject) => {
        const late = new Error(`not done after ${ROUND_MS / 1_000} seconds`);
        deadline = setTimeout(() => reject(late), ROUND_MS);
      }),
    ]);
  } finally {
    clearTimeout(deadline);
    await server.stop();
  }
}

/** Of one server, by variant: each value's median, spread and ratio to the same variant of the floor. */
function summarizeServer(id, turns, { metrics }) {
  const own = turns.filter(({ peer }) => peer.id === id);
  // Metrics that compare a variant with another one of the same server and round.
  for (const { id: name, of, base } of metrics.filter((metric) => metric.base)) {
    const others = own.find(({ variant, error }) => variant.id === base && error === undefined);
    for (const { values } of own) {
      values.forEach((value, round) => {
        value[name] = value[of] / (others?.values[round][of] ?? Number.NaN);
      });
    }
  }
  return Object.fromEntries(
    own.map(({ variant, values, error }) => {
      if (error !== undefined) return [variant.id, { error }];
      const floor = turns.find(
        (turn) => turn.peer.id === 'floor' && turn.variant === variant && turn.error === undefined,
      );
      const summary = {};
      for (const name of Object.keys(values[0])) {
        const list = values.map((value) => value[name]);
        summary[name] = summarize(list);
        if (!metrics.some((metric) => metric.id === name)) continue;
        summary[name].ratio = ratioTo(
          floor?.values.map((value) => value[name]),
          list,
        );
      }
      return [variant.id, summary];
    }),
  );
}

function choose(all, list, nameOf, kind) {
  if (list === undefined) return all;
  return list.split(',').map((name) => {
    const found = all.find((item) => nameOf(item) === name.trim());
    if (found === undefined) throw new UsageError(`There is no ${kind} ${name}.`);
    return found;
  });
}

function isThere({ installed = true, label }) {
  if (!installed) console.warn(`${label.trim()} is not installed and left out.`);
  return installed;
}

function requireOpenFiles(chosen, size) {
  const needed = Math.max(
    ...chosen.map(({ openFiles, sizes }) => openFiles?.(sizes[size]) ?? 2_048),
  );
  const limit = openFilesLimit();
  if (limit >= needed) return;
  throw new UsageError(
    `This run needs ${needed} open files in one process, and ${limit} are allowed: ulimit -n ${needed}, or --quick.`,
  );
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
  else if (text !== '') process.stderr.write(`${text}\n`);
}
