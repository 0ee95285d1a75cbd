import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { afterEach, describe, expect, test } from '@jest/globals';
import { parseAllDocuments, parse as parseYaml } from 'yaml';
import { readConfig } from '../src/config.js';
import type { Service } from '../src/service.js';
import { freePort } from './support/free-port.js';
import { type Nginx, startNginx } from './support/nginx.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const file = (name: string) => readFileSync(name, 'utf8');
const nginxConf = file('deploy/nginx.conf');

describe('compose.yaml', () => {
  const compose = parseYaml(file('compose.yaml'), { merge: true });
  const { services } = compose;
  const nodes = Object.keys(services).filter((name) => name.startsWith('hub-'));

  test('runs two nodes of this image over one Redis, each with settings that the service takes', () => {
    expect(nodes).toEqual(['hub-1', 'hub-2']);
    for (const node of nodes) {
      const { build, environment, depends_on, restart, ports } = services[node];
      expect(build).toBe('.');
      expect(restart).toBe('unless-stopped');
      expect(depends_on.redis.condition).toBe('service_healthy');
      expect(ports).toBeUndefined();
      const given = Object.entries(environment).map(([name, value]) => [name, filledIn(value)]);
      const config = readConfig(Object.fromEntries(given));
      expect(config.JOURNAL).toBe('redis://redis:6379');
    }
  });

  test('keeps what was acknowledged in a volume, written to the disk at once, and evicts nothing', () => {
    const { command, volumes, healthcheck } = services.redis;
    expect(command).toMatch(
      /--appendonly yes --appendfsync always .*--maxmemory-policy noeviction/,
    );
    expect(volumes).toEqual(['redis:/data']);
    expect(healthcheck.test.join(' ')).toContain('redis-cli ping');
    expect(Object.keys(compose.volumes)).toContain('redis');
  });

  test('has the proxy of deploy/ in front, which finds the nodes under the names that are in it', () => {
    const { volumes, extra_hosts, ports, depends_on, healthcheck } = services.proxy;
    expect(volumes).toContain('./deploy/nginx.conf:/etc/nginx/nginx.conf:ro');
    expect(ports).toEqual(['80:80', '443:443']);
    expect(healthcheck.test).toContain('curl');
    expect(nginxConf.match(/server hub-\d:3000/g)).toEqual(
      nodes.map((name) => `server ${name}:3000`),
    );
    for (const node of nodes) {
      expect(depends_on[node].condition).toBe('service_healthy');
      expect(extra_hosts).toContain(`${node}:${services[node].networks.default.ipv4_address}`);
    }
  });
});

describe('the image', () => {
  test('has every package that the service imports, and none that only the tests do', () => {
    const { dependencies, peerDependencies } = JSON.parse(file('package.json'));
    const { '@types/koa': _, ...peers } = peerDependencies;
    const imported = readdirSync('src', { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) => [
        ...file(`src/${name}`).matchAll(/(?:\bfrom |\bimport\(|^import )'([^']+)'/gm),
      ])
      .map(([, specifier = '']) => /^(?:@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? '')
      .filter((name) => !name.startsWith('.') && !name.startsWith('node:'));
    expect(imported).toContain('redis');
    expect([...new Set(imported)].sort()).toEqual(
      Object.keys({ ...dependencies, ...peers }).sort(),
    );
    expect(file('Dockerfile')).toMatch(
      /npm prune --omit=dev.*COPY --from=build \/app\/node_modules/s,
    );
  });
});

describe('deploy/kubernetes.yaml', () => {
  const [deployment, service, budget] = parseAllDocuments(file('deploy/kubernetes.yaml')).map(
    (document) => document.toJS(),
  );
  const pod = deployment.spec.template;
  const [container] = pod.spec.containers;

  test('has a Deployment, and a Service and a PodDisruptionBudget for its pods', () => {
    expect([deployment, service, budget].map(({ kind }) => kind)).toEqual([
      'Deployment',
      'Service',
      'PodDisruptionBudget',
    ]);
    expect(deployment.spec.replicas).toBeGreaterThanOrEqual(2);
    const { labels } = pod.metadata;
    expect(deployment.spec.selector.matchLabels).toEqual(labels);
    expect(service.spec.selector).toEqual(labels);
    expect(budget.spec.selector.matchLabels).toEqual(labels);
    expect(service.spec.ports[0].targetPort).toBe(container.ports[0].name);
    expect(budget.spec.maxUnavailable).toBe(1);
  });

  test('has settings that the service takes, and the keys in a secret', () => {
    const entries = container.env.map(({ name, value }: { name: string; value?: string }) => [
      name,
      value,
    ]);
    const { JWT_KEY_FILE, JOURNAL, ...rest } = Object.fromEntries(entries);
    expect(JOURNAL).toBeUndefined();
    expect(readConfig(rest).PORT).toBe(container.ports[0].containerPort);
    const [{ mountPath }] = container.volumeMounts;
    const [{ secret }] = pod.spec.volumes;
    expect(JWT_KEY_FILE).toBe(`${mountPath}/${secret.items[0].path}`);
  });

  test('probes a path that a node answers whatever becomes of its journal', async () => {
    const node = await startTestService();
    for (const name of ['startupProbe', 'readinessProbe', 'livenessProbe']) {
      const { path, port } = container[name].httpGet;
      expect(port).toBe('http');
      expect((await fetch(`${node.url}${path}`)).status).toBe(200);
    }
    await node.stop();
  });

  test('leaves a node the time to be taken out of the Service, and to end its streams', () => {
    const entries = container.env.map(({ name, value }: { name: string; value?: string }) => [
      name,
      value,
    ]);
    const { JWT_KEY_FILE: _, ...rest } = Object.fromEntries(entries);
    const { DRAIN_DELAY_MS, DRAIN_MS, BODY_TIMEOUT_MS } = readConfig(rest);
    expect(DRAIN_DELAY_MS).toBeGreaterThanOrEqual(5_000);
    const seconds = (DRAIN_DELAY_MS + DRAIN_MS + BODY_TIMEOUT_MS + 5_000) / 1_000;
    expect(pod.spec.terminationGracePeriodSeconds).toBeGreaterThan(seconds);
  });
});

describe('deploy/nginx.conf', () => {
  let nginx: Nginx | undefined;
  const services: Service[] = [];
  afterEach(async () => {
    await nginx?.close();
    nginx = undefined;
    await Promise.all(services.splice(0).map((service) => service.stop()));
  });

  async function start(env: Record<string, string> = {}): Promise<Service> {
    const service = await startTestService({ TRUST_PROXY: '1', ...env });
    services.push(service);
    return service;
  }
  const portOf = ({ url }: Service) => Number(new URL(url).port);

  async function publish(url: string, data: string): Promise<Response> {
    const token = await tokenFor();
    return fetch(`${url}/hub`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${token}` },
      body: new URLSearchParams({ topic: 'news', data }),
    });
  }

  test('passes each event on as it comes, over HTTP/2 as over HTTP/1.1', async () => {
    nginx = await startNginx([portOf(await start())]);
    const plain = await connect(`${nginx.url}/hub?topic=news`);
    const session = connectHttp2(nginx.secureUrl, { ca: nginx.certificate });
    const stream = session.request({ ':path': '/hub?topic=news', accept: 'text/event-stream' });
    await once(stream, 'response');
    let text = '';
    stream.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    for (const data of ['one', 'two']) {
      expect((await publish(nginx.url, data)).status).toBe(200);
      expect((await plain.next()).data).toBe(data);
      while (!text.includes(`data: ${data}\n\n`)) await once(stream, 'data');
    }
    session.destroy();
    plain.abort();
  });

  test('hands clients out in turn, and passes over a node that is gone', async () => {
    const [one, two] = [await start(), await start()];
    nginx = await startNginx([portOf(one), portOf(two)]);
    // Each node has a journal of its own here: which one has answered can be told.
    await publish(one.url, 'one');
    await publish(two.url, 'two');
    const read = async () => {
      const client = await connect(`${nginx?.url}/hub?topic=news&lastEventID=earliest`);
      const { data } = await client.next();
      client.abort();
      return data;
    };
    const first = [await read(), await read(), await read(), await read()];
    expect(first.sort()).toEqual(['one', 'one', 'two', 'two']);
    await one.stop();
    services.splice(services.indexOf(one), 1);
    for (let round = 0; round < 4; round++) expect(await read()).toBe('two');
  });

  test('without any node tells publishers to come back, and breaks the connection of an event stream', async () => {
    nginx = await startNginx([await freePort()]);
    const answer = await publish(nginx.url, 'x');
    expect(answer.status).toBe(503);
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(answer.headers.get('content-type')).toBe('application/problem+json');
    const { status, detail } = (await answer.json()) as { status: number; detail: string };
    expect(status).toBe(503);
    expect(detail).toMatch(/publish it again with the same id or Idempotency-Key/);
    await expect(connect(`${nginx.url}/hub?topic=news`)).rejects.toThrow(
      /socket hang up|ECONNRESET/,
    );
    const session = connectHttp2(nginx.secureUrl, { ca: nginx.certificate });
    const stream = session.request({ ':path': '/hub?topic=news', accept: 'text/event-stream' });
    await expect(once(stream, 'response')).rejects.toThrow(/^Stream closed with error code/);
    session.destroy();
  });

  test('hands event streams to nodes again as soon as these are back', async () => {
    const port = await freePort();
    nginx = await startNginx([port, await freePort()]);
    const { url } = nginx;
    for (let count = 0; count < 10; count++) {
      await expect(connect(`${url}/hub?topic=news`)).rejects.toThrow();
    }
    await start({ PORT: String(port) });
    // None of these requests ends: nginx must not wait for one to find out that all is well.
    const clients = await Promise.all(
      Array.from({ length: 10 }, () => connect(`${url}/hub?topic=news`)),
    );
    for (const client of clients) client.abort();
  });

  test('takes bodies that do not fit into memory', async () => {
    nginx = await startNginx([portOf(await start())]);
    expect((await publish(nginx.url, 'x'.repeat(100_000))).status).toBe(200);
  });

  test('tells the nodes who asks, and believes no address that a client made up', async () => {
    nginx = await startNginx([portOf(await start({ MAX_CONNECTIONS_PER_ADDRESS: '1' }))]);
    const first = await connect(`${nginx.url}/hub?topic=news`, { 'X-Forwarded-For': '192.0.2.1' });
    const second = await connect(`${nginx.url}/hub?topic=news`, { 'X-Forwarded-For': '192.0.2.2' });
    expect([first, second].map(({ response }) => response.statusCode)).toEqual([200, 429]);
    first.abort();
    second.abort();
  });

  test('writes no token and no topic into its log', async () => {
    nginx = await startNginx([portOf(await start())]);
    await fetch(`${nginx.url}/hub?topic=secret-topic&authorization=secret-token`);
    expect(nginx.accessLog()).toMatch(/"GET \/hub" 401 /);
    expect(nginx.accessLog()).not.toContain('secret');
  });

  test('keeps the reason for which nothing can be published from strangers', async () => {
    const node = await start();
    nginx = await startNginx([portOf(node)]);
    expect((await fetch(`${node.url}/health`)).status).toBe(200);
    expect((await fetch(`${nginx.url}/health`)).status).toBe(404);
  });

  test('sends browsers from http to https', async () => {
    nginx = await startNginx([portOf(await start())]);
    const [response] = (await once(get(`${nginx.redirectUrl}/hub?topic=x`), 'response')) as [
      IncomingMessage,
    ];
    response.resume();
    expect(response.statusCode).toBe(308);
    expect(response.headers.location).toBe('https://127.0.0.1/hub?topic=x');
  });
});

/** What Compose makes of a value: the examples of a user, and nothing for what is left out. */
function filledIn(value: unknown): string {
  return String(value)
    .replace(/\$\{JWT_KEY:\?[^}]*\}/, 'a secret of the tests, which has 32 bytes and more')
    .replace(/\$\{\w+:-([^}]*)\}/, '$1');
}
