import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { findExecutable } from '../scripts/find-executable.js';
import { freePort } from './support/free-port.js';
import { type Scraped, scrape } from './support/metrics.js';
import { startRedis } from './support/redis-server.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const ALERTS = 'deploy/alerts.yaml';
const DASHBOARD = 'deploy/grafana.json';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

const rules: readonly Rule[] = parse(readFileSync(ALERTS, 'utf8')).groups.flatMap(
  ({ rules: some }: { rules: readonly Rule[] }) => some,
);

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly w: number };
  readonly targets?: readonly { readonly expr: string }[];
}

const dashboard: {
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string }[];
  };
} = JSON.parse(readFileSync(DASHBOARD, 'utf8'));

/** What Grafana puts into the place of its variables. */
const filledIn = (expr: string): string =>
  expr.replaceAll('$__rate_interval', '1m').replaceAll('$instance', '.*');

const queries = [
  ...rules.map(({ alert, expr }) => [alert, expr] as const),
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => [title, filledIn(expr)] as const),
  ),
];

/** What is let go of after each test, the newest first. */
const opened: (() => unknown)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

/** A service that has done some of everything, over Redis, so that all metrics are there. */
async function startUsed(env: Record<string, string> = {}) {
  const redis = await startRedis({ persistence: 'none' });
  opened.push(() => redis.close());
  const service = await startTestService({
    JOURNAL: redis.url,
    JOURNAL_SYNC: 'os',
    METRICS_PORT: '0',
    SUBSCRIPTIONS: 'true',
    FEEDS: 'none',
    ...env,
  });
  opened.push(() => service.stop());
  const client = await connect(`${service.url}/hub?topic=t&lastEventID=earliest`);
  opened.push(() => client.abort());
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${await tokenFor()}` },
    body: new URLSearchParams({ topic: 't', data: 'x' }),
  });
  expect(response.status).toBe(200);
  expect((await client.next()).data).toBe('x');
  return { redis, opsUrl: service.opsUrl as string };
}

/** What Prometheus adds to each series. */
const ADDED = new Set(['instance', 'job']);
/** The metric of Prometheus itself. */
const OWN = 'up';

/** What a query asks for that is not there: each metric, with the labels that are selected or grouped by. */
function missingIn(query: string, metrics: Scraped): string[] {
  const missing: string[] = [];
  const names = new Set(metrics.series.map(({ name }) => name));
  const grouped = [...query.matchAll(/\b(?:by|without) \(([^)]*)\)/g)].flatMap(([, list = '']) =>
    list.split(/,\s*/),
  );
  for (const [, name = '', selectors = ''] of query.matchAll(
    /\b(sse_hub_\w+|up)(?:\{([^}]*)\})?/g,
  )) {
    if (name === OWN) continue;
    if (!names.has(name)) {
      missing.push(name);
      continue;
    }
    const series = metrics.series.filter((one) => one.name === name);
    for (const [, label = '', , wanted = ''] of selectors.matchAll(/(\w+)(=~|=)"([^"]*)"/g)) {
      if (ADDED.has(label)) continue;
      const values = series.map(({ labels }) => labels[label] ?? '');
      if (label === 'status') {
        if (values.every((value) => value === '')) missing.push(`${name} by ${label}`);
        continue; // Those come with the first answer that has one.
      }
      for (const value of wanted.split('|')) {
        if (!values.includes(value)) missing.push(`${name}{${label}="${value}"}`);
      }
    }
    for (const label of grouped) {
      if (!ADDED.has(label) && !series.some(({ labels }) => label in labels)) {
        missing.push(`${name} by ${label}`);
      }
    }
  }
  return missing;
}

describe('the queries of alerts and dashboard', () => {
  test('ask for nothing that a service does not have', async () => {
    const { opsUrl } = await startUsed();
    const metrics = await scrape(opsUrl);
    expect(queries.length).toBeGreaterThan(50);
    const missing = queries.flatMap(([title, query]) =>
      missingIn(query, metrics).map((what) => `${title}: ${what}`),
    );
    expect(missing).toEqual([]);
    // The test itself notices what is not there.
    expect(missingIn('rate(sse_hub_connection{state="x"}[5m])', metrics)).not.toEqual([]);
    expect(missingIn('sum by (topic) (sse_hub_connections{state="x"})', metrics)).toHaveLength(2);
  });

  test('leave out no metric but those of the runtime, on the dashboard', async () => {
    const { opsUrl } = await startUsed();
    const { types } = await scrape(opsUrl);
    const text = queries.map(([, query]) => query).join('\n');
    const unseen = [...types.keys()].filter((name) => !text.includes(name));
    expect(unseen.filter((name) => !/^sse_hub_(nodejs|process)_/.test(name))).toEqual([
      // Single ones to look up: beside what a panel shows they say little more.
      'sse_hub_streams',
      'sse_hub_connections_accepted_total',
      'sse_hub_updates_unsendable_total',
      'sse_hub_catch_ups_total',
      'sse_hub_window_bytes_limit',
      'sse_hub_presence_subscribers',
      'sse_hub_presence_waiting',
    ]);
  });
});

describe(ALERTS, () => {
  test('says of each alert what is wrong and what to do', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { alert, labels, annotations } of rules) {
      expect(alert).toMatch(/^SseHub[A-Z]\w+$/);
      expect(['critical', 'warning']).toContain(labels.severity);
      expect(annotations.summary.length).toBeGreaterThan(20);
      expect(annotations.description.length).toBeGreaterThan(10);
    }
  });

  const promtool = findExecutable(['promtool']);
  (promtool ? test : test.skip)('is what promtool finds nothing wrong with', () => {
    const printed = execFileSync(promtool as string, ['check', 'rules', ALERTS], {
      encoding: 'utf8',
    });
    expect(printed).toContain(`SUCCESS: ${rules.length} rules found`);
  });
});

describe(DASHBOARD, () => {
  test('has panels that stand beside each other, each with queries for the chosen nodes', () => {
    const { panels, templating } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { type, gridPos, targets = [] } of panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      if (type === 'row') continue;
      expect(targets.length).toBeGreaterThan(0);
      for (const { expr } of targets) expect(expr).toContain('instance=~"$instance"');
    }
    expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'instance']);
  });
});

const prometheus = findExecutable(['prometheus']);
(prometheus ? describe : describe.skip)('with a real Prometheus', () => {
  interface Result {
    readonly status: string;
    readonly error?: string;
    readonly data: { readonly result: readonly { readonly value: readonly [number, string] }[] };
  }

  async function startPrometheus(target: string): Promise<(query: string) => Promise<Result>> {
    const directory = await mkdtemp(join(tmpdir(), 'prometheus-'));
    opened.push(() => rm(directory, { recursive: true, force: true }));
    const config = {
      global: { scrape_interval: '250ms', scrape_timeout: '250ms' },
      rule_files: [resolve(ALERTS)],
      scrape_configs: [{ job_name: 'koa-sse-hub', static_configs: [{ targets: [target] }] }],
    };
    const file = join(directory, 'prometheus.yml');
    await writeFile(file, JSON.stringify(config));
    const port = await freePort();
    const child = spawn(
      prometheus as string,
      [
        `--config.file=${file}`,
        `--storage.tsdb.path=${join(directory, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: 'ignore' },
    );
    opened.push(async () => {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    });
    return async (query) => {
      for (;;) {
        try {
          const response = await fetch(`http://127.0.0.1:${port}/api/v1/query`, {
            method: 'POST',
            body: new URLSearchParams({ query }),
          });
          return (await response.json()) as Result;
        } catch {
          // It does not listen yet.
        }
      }
    };
  }

  test('each query has an answer, and a service that is well raises no alert', async () => {
    const { redis, opsUrl } = await startUsed();
    const query = await startPrometheus(new URL(opsUrl).host);
    const until = async (expr: string) => {
      for (;;) {
        const { data } = await query(expr);
        if (data.result.length > 0) return;
      }
    };
    await until('count_over_time(sse_hub_connections_limit[1m]) > 2');
    for (const [title, expr] of queries) {
      const { status, error } = await query(expr);
      expect([title, expr, status, error]).toEqual([title, expr, 'success', undefined]);
    }
    for (const { alert, expr } of rules) {
      expect([alert, (await query(expr)).data.result]).toEqual([alert, []]);
    }
    const empty: string[] = [];
    for (const [title, expr] of queries.slice(rules.length)) {
      if (expr.endsWith('> 0')) continue; // Only what there is.
      if ((await query(expr)).data.result.length === 0) empty.push(`${title}: ${expr}`);
    }
    expect(empty).toEqual([]);
    await redis.kill();
    await until((rules.find(({ alert }) => alert === 'SseHubJournalAway') as Rule).expr);
  });
});
