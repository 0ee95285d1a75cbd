/**
 * `npm run soak`: the built service among honest clients, who check everything that they are promised, and
 * hostile ones, who do everything that they are allowed, for half an hour.
 *
 * The honest and the hostile clients are a process each. Time is taken by the honest one, which publishes and
 * receives; the hostile one has a lower priority, so that it is the service that is measured.
 *
 * With `--cluster` there are several nodes over a Redis instead, and what fails takes the place of attacks.
 */
import { existsSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { describeMachine, openFilesLimit } from '../bench/machine.js';
import { listFailures, showFailures, soakNodes } from './cluster/command.js';
import { attacks } from './hostile/attacks/index.js';
import { planOf } from './hostile/plan.js';
import { killAll, phases, runPhase } from './phase.js';
import { conclude, directoryOfResults, summarizeHonest } from './report.js';
import { numberFrom, UsageError } from './usage.js';
import { lateMinutes, verdictOn } from './verdict.js';

const HELP = `npm run soak -- [options]

  --hostile          hostile clients too, not the honest ones alone
  --minutes N        of all phases together, without their beginnings and ends: 30
  --seed N           repeats the attacks of another run
  --attack NAME      only this one; may be given more than once
  --lanes N          how many attacks at the same time: 3
  --phase NAME       only this one: ${Object.keys(phases).join(' or ')}
  --journal WHERE    lmdb: (a directory that is removed afterwards), lmdb:DIRECTORY or memory:
  --max-p99 MS       how late honest clients may be served: 250
  --max-log-lines N  how many lines the service may log in a minute: 60
  --fill N           how many updates the journal keeps, and has at the beginning: 200000
  --output FILE      where the report goes, instead of soak/results/SEED.json
  --snapshots        also writes what is on the service's heap before and after the attacks,
                     which holds it up for seconds: the times of such a run say nothing
  --list             the attacks there are
  --plan             which attacks a seed makes

npm run soak -- --cluster [options]

  --minutes, --seed, --output, --list, --plan as above
  --failure NAME     only this one; may be given more than once
  --nodes N          how many nodes: 3
  --crowd N          how many subscribers come and go: 300
  --persistence WHAT what Redis has on its disk: always, everysec or none. Only with the first nothing may be lost
`;

const { values: options } = parseArgs({
  options: {
    hostile: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    attack: { type: 'string', multiple: true },
    lanes: { type: 'string', default: '3' },
    phase: { type: 'string' },
    journal: { type: 'string', default: 'lmdb:' },
    'max-p99': { type: 'string', default: '250' },
    'max-log-lines': { type: 'string', default: '60' },
    fill: { type: 'string', default: '200000' },
    output: { type: 'string' },
    snapshots: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    plan: { type: 'boolean', default: false },
    cluster: { type: 'boolean', default: false },
    failure: { type: 'string', multiple: true },
    nodes: { type: 'string', default: '3' },
    crowd: { type: 'string', default: '300' },
    persistence: { type: 'string', default: 'always' },
    help: { type: 'boolean', default: false },
  },
});

/** Without attacks: code is compiled, the window fills, and everybody is there. */
const WARM_UP_MS = 15_000;
/** Fewer, and a single attack of this soak would use them up. */
const MIN_OPEN_FILES = 4_096;
/** Attacks of each lane that `--plan` shows. */
const PLANNED = 20;

process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

try {
  if (options.help) console.log(HELP);
  else if (options.list) console.log(options.cluster ? listFailures() : listAttacks());
  else if (options.plan) options.cluster ? showFailures(options) : showPlan();
  else process.exitCode = (await run()) ? 0 : 1;
} catch (error) {
  console.error(error instanceof UsageError ? `${error.message}\n\n${HELP}` : error);
  process.exitCode = 1;
}

/** Returns whether everything was as it must be. */
function run() {
  if (!existsSync(new URL('../dist/main.js', import.meta.url))) {
    throw new UsageError('There is no dist/main.js: run it as npm run soak, which builds it.');
  }
  if (openFilesLimit() < MIN_OPEN_FILES) {
    throw new UsageError(
      `This run needs ${MIN_OPEN_FILES} open files in one process, and ${openFilesLimit()} are allowed: ulimit -n ${MIN_OPEN_FILES}.`,
    );
  }
  return options.cluster ? soakNodes(options) : soak();
}

async function soak() {
  const limits = {
    maxP99: numberFrom(options, 'max-p99'),
    maxLogLines: numberFrom(options, 'max-log-lines'),
  };
  const names = chosenAttacks();
  const chosenPhases = options.phase === undefined ? Object.keys(phases) : [options.phase];
  if (!chosenPhases.every((name) => name in phases)) {
    throw new UsageError(`There is no phase ${options.phase}.`);
  }
  const forMs = (numberFrom(options, 'minutes') * 60_000) / chosenPhases.length;
  const report = {
    date: new Date().toISOString(),
    seed: options.seed,
    attacks: names,
    limits,
    machine: describeMachine(),
    failures: [],
    phases: [],
  };
  console.log(`seed ${options.seed}, ${chosenPhases.length} phases of ${forMs / 60_000} minutes`);

  for (const name of chosenPhases) {
    const result = await runPhase(name, {
      seed: options.seed,
      names,
      lanes: numberFrom(options, 'lanes'),
      forMs,
      warmUpMs: Math.min(WARM_UP_MS, forMs),
      fill: numberFrom(options, 'fill'),
      maxUpdates: Math.max(1, numberFrom(options, 'fill')),
      journal: options.journal,
      snapshot: (service, when) => options.snapshots && snapshot(service, name, when),
      onStart: (pid) => console.log(`phase ${name}: the service is process ${pid}`),
      onProgress,
    });
    result.failures = verdictOn(result, limits);
    summarize(result);
    for (const minute of lateMinutes(result, limits)) console.log(`  late for a while: ${minute}`);
    report.phases.push(result);
    report.failures.push(...result.failures.map((failure) => `${name}: ${failure}`));
  }

  return conclude(report, options);
}

function chosenAttacks() {
  if (!options.hostile && options.attack === undefined) return [];
  const names = options.attack ?? Object.keys(attacks).sort();
  for (const name of names) {
    if (!(name in attacks)) throw new UsageError(`There is no attack ${name}: see --list.`);
  }
  return names;
}

function listAttacks() {
  return Object.keys(attacks).sort().join('\n');
}

function showPlan() {
  const names = chosenAttacks();
  for (let lane = 0; lane < Math.min(numberFrom(options, 'lanes'), names.length); lane++) {
    const plan = planOf({ seed: options.seed, lane, names });
    for (let count = 0; count < PLANNED; count++) {
      const { name, forMs } = plan.next().value;
      console.log(`lane ${lane + 1}: ${name}, ${(forMs / 1_000).toFixed(1)} s`);
    }
  }
}

function onProgress({ at, attacks, latency, probes, acknowledged, ...window }, failures) {
  const failed = Object.values(failures).reduce((sum, { count }) => sum + count, 0);
  console.log(
    [
      `${at} s`,
      `received p50 ${latency.p50.toFixed(1)} p99 ${latency.p99.toFixed(0)} ms`,
      `HEAD p99 ${probes.p99.toFixed(0)} ms`,
      `answered p99 ${acknowledged.p99.toFixed(0)} ms`,
      `held ${window.stall?.toFixed(0) ?? '?'} ms`,
      `own lag ${window.lag.toFixed(0)} ms`,
      `${Math.round(window.rss / 2 ** 20)} MB`,
      `${window.descriptors} open`,
      `${window.counts.acknowledged} published`,
      failed > 0 ? `${failed} FAILED (${Object.keys(failures).join(', ')})` : '',
      attacks.join(' '),
    ]
      .filter(Boolean)
      .join(' | '),
  );
}

function summarize({ phase, honest, before, after, log, hostile }) {
  const megabytes = (bytes) => `${Math.round(bytes / 2 ** 20)} MB`;
  console.log(`phase ${phase}:`);
  if (honest !== undefined) summarizeHonest(honest);
  if (before !== undefined && after !== undefined) {
    for (const [what, name] of [
      ['heap', 'heapUsed'],
      ['resident', 'anonymous'],
    ]) {
      console.log(`  ${what}: ${megabytes(before[name])} before, ${megabytes(after[name])} after`);
    }
    console.log(
      `  other descriptors: ${before.descriptors} before, ${after.descriptors} after; subscribers: ${after.subscribers}`,
    );
  }
  if (hostile !== undefined) {
    const total = {};
    for (const statuses of Object.values(hostile.statuses)) {
      for (const [status, count] of Object.entries(statuses)) {
        total[status] = (total[status] ?? 0) + count;
      }
    }
    console.log(
      `  hostile clients were answered: ${Object.entries(total)
        .map(([status, count]) => `${status} ${count} times`)
        .join(', ')}`,
    );
  }
  if (log !== undefined) console.log(`  log: ${log.lineCount} lines`);
}

function snapshot(service, phase, when) {
  const file = `${directoryOfResults()}${options.seed}-${phase}-${when}.heapsnapshot`;
  return service.snapshot(file);
}
