/**
 * `node bench/write-docs.js [FILE]`: puts a run's results into docs/: the numbers as docs/performance.json, a
 * chart for each measure under docs/performance/, and the tables of docs/performance.md, between their markers.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { barChart } from './charts.js';
import { describeRun, markdownTable } from './report.js';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const results = JSON.parse(readFileSync(process.argv[2] ?? path('results/results.json'), 'utf8'));
const page = path('../docs/performance.md');
const charts = path('../docs/performance/');

mkdirSync(charts, { recursive: true });
writeFileSync(path('../docs/performance.json'), `${JSON.stringify(results, null, 2)}\n`);

let text = readFileSync(page, 'utf8');
put('run', describeRun(results));
for (const measure of results.measures) {
  const images = chartsOf(measure).map(({ name, chart }) => {
    writeFileSync(`${charts}${name}.svg`, barChart(chart));
    return `![${chart.title}](performance/${name}.svg)`;
  });
  put(`measure ${measure.number}`, [...images, markdownTable(measure)].join('\n\n'));
}
writeFileSync(page, text);

/** One chart a variant and charted metric. */
function chartsOf({ number, title, metrics, variants, servers }) {
  return metrics
    .filter(({ chart }) => chart)
    .flatMap((metric) =>
      variants.map((variant) => {
        const { id, label, better, scale = 1 } = metric;
        const bars = servers.flatMap((server) => {
          const values = server.variants[variant.id];
          if (values === undefined) return [];
          const bar = { label: server.label, isOurs: server.id.startsWith('hub') };
          if (values.error !== undefined) return [{ ...bar, error: values.error }];
          const { median, min, max } = values[id];
          // A ratio to what has failed.
          if (median === null) return [];
          return [{ ...bar, median: median * scale, min: min * scale, max: max * scale }];
        });
        const what = [title, variant.label].filter((part) => part !== '').join(', ');
        return {
          name: `${number}-${variant.id}-${id}`.toLowerCase(),
          chart: { title: `${what}: ${label}`, better, bars },
        };
      }),
    );
}

/** Replaces what stands between a pair of markers. */
function put(name, content) {
  const start = `<!-- ${name} -->`;
  const end = `<!-- /${name} -->`;
  const from = text.indexOf(start);
  const to = text.indexOf(end);
  if (from === -1 || to < from) throw new Error(`docs/performance.md has no ${start} … ${end}.`);
  text = `${text.slice(0, from + start.length)}\n${content}\n${text.slice(to)}`;
}
