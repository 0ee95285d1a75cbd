/** What a soak tells in the end. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Writes the report and tells the verdict. Returns whether everything was as it must be. */
export function conclude(report, { seed, output }) {
  const file = output ?? `${directoryOfResults()}${seed}.json`;
  writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  console.log(`The report is in ${file}`);
  if (report.failures.length === 0) {
    console.log('Everything was as it must be.');
    return true;
  }
  console.log(`What failed, with seed ${seed}:`);
  for (const failure of report.failures) console.log(`- ${failure}`);
  return false;
}

/** Where reports go; it is made if it is not there. */
export function directoryOfResults() {
  const directory = fileURLToPath(new URL('results/', import.meta.url));
  mkdirSync(directory, { recursive: true });
  return directory;
}

/** How honest clients were served. */
export function summarizeHonest({
  latency,
  latencies = {},
  probes,
  acknowledged,
  answered,
  counts,
}) {
  for (const [what, times] of Object.entries({
    'publish to receive': latency,
    'HEAD /': probes,
    'publish to acknowledged': acknowledged,
    'request to answer': answered,
  })) {
    if (times === undefined) continue;
    const { count, p50, p99, max } = times;
    console.log(
      `  ${what}: ${count} times, p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(1)}, at most ${max.toFixed(0)} ms`,
    );
  }
  for (const [name, { p99, max }] of Object.entries(latencies)) {
    console.log(`  publish to ${name}: p99 ${p99.toFixed(1)}, at most ${max.toFixed(0)} ms`);
  }
  console.log(
    `  honest clients: ${Object.entries(counts)
      .map(([what, count]) => `${what} ${count}`)
      .join(', ')}`,
  );
}
