/**
 * `node bench/write-docs.js [FILE]`: puts a run's results into docs/: the numbers as docs/performance.json, a
 * chart for each measure under docs/performance/, and the tables of docs/performance.md, between their markers.
 *
 * `node bench/write-docs.js FILE --redis`: the same of a run of the three journals alone, for the chapter about Redis;
 * `--tokens`: of a run of measure 11 alone. What a full run has put elsewhere stays.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { barChart } from './charts.js';
import { describeRun, markdownTable } from './report.js';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const { values, positionals } = parseArgs({
  options: {
    redis: { type: 'boolean', default: false },
    tokens: { type: 'boolean', default: false },
  },
  allowPositionals: true,
});
const results = JSON.parse(readFileSync(positionals[0] ?? path('results/results.json'), 'utf8'));
/** Chapters of runs of their own, and the measures that have a place of their own in them. */
const CHAPTERS = { redis: [9, 10], tokens: [11] };
const chapter = Object.keys(CHAPTERS).find((name) => values[name]);
const page = path('../docs/performance.md');
const charts = path('../docs/performance/');

mkdirSync(charts, { recursive: true });
let text = readFileSync(page, 'utf8');
if (chapter !== undefined) {
  const isOwn = ({ number }) => CHAPTERS[chapter].includes(number);
  const others = results.measures.filter((measure) => !isOwn(measure));
  const tables = others.map((measure) => `**${measure.title}**\n\n${markdownTable(measure)}`);
  put(chapter, [describeRun(results), ...tables].join('\n\n'));
  results.measures = results.measures.filter(isOwn);
} else {
  writeFileSync(path('../docs/performance.json'), `${JSON.stringify(results, null, 2)}\n`);
  put('run', describeRun(results));
}
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
          const bar = { label: server.label, isOurs: /^(hub|sse)/.test(server.id) };
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
