import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { compileSelector } from '../src/topics/selector.js';
import { HubClient, openTestHub, selection, settled, subscribe, update } from './support/hub.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

/** Different ones, of the shapes that take longest, and none of them told apart by its start. */
const costly = (n: number) => [
  `{+a${n},b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r}{/x*}`,
  `{a${n}}{b}{c}{d}{e}{f}{g}{h}{i}{j}`,
  `{a${n}:100}{b:200}{c:300}{d:400}`,
  `{a}x${n}{b}x{c}`,
  `{?a${n},b,c,d,e,f}{&g*}`,
];

/** The longest time that others had to wait while something went on, in milliseconds. */
async function longestDelay(work: () => Promise<unknown>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await work();
  for (let turns = 0; turns < 20; turns += 1) await new Promise(setImmediate);
  delay.disable();
  return delay.max / 1e6;
}

describe('ten thousand different templates of strangers', () => {
  /** Generous: what is measured is some 20 ms, and what it was were seconds. */
  const MAX_DELAY_MS = 1_500;

  async function hubWithTemplates() {
    const test = await openTestHub();
    for (let n = 0; n < 2_000; n += 1) {
      const { stream } = new HubClient();
      test.hub.subscribe(stream, selection(costly(n)));
    }
    const honest = await subscribe(test, ['known', 'new/{n}', `${'t'.repeat(900)}{n}`]);
    await test.hub.publish([update('known', 'warm up')]);
    await honest.has(1);
    await settled();
    return { test, honest };
  }

  test('delay nobody when an update of a new topic is published, or ten', async () => {
    const { test, honest } = await hubWithTemplates();
    const short = await longestDelay(async () => {
      await test.hub.publish([update('new/1', 'short')]);
      await honest.has(2);
    });
    const long = await longestDelay(async () => {
      await test.hub.publish(
        Array.from({ length: 10 }, (_, n) => update(`${'t'.repeat(900)}${n}`, `long ${n}`)),
      );
      await honest.has(12);
    });
    expect(honest.data.slice(1)).toEqual([
      'short',
      ...Array.from({ length: 10 }, (_, n) => `long ${n}`),
    ]);
    expect(short).toBeLessThan(MAX_DELAY_MS);
    expect(long).toBeLessThan(MAX_DELAY_MS);
  });

  test('that come and go do not make updates of known topics late', async () => {
    const { test, honest } = await hubWithTemplates();
    const took: number[] = [];
    for (let n = 0; n < 50; n += 1) {
      const passing = new HubClient();
      test.hub.subscribe(passing.stream, selection(costly(10_000 + n)));
      const published = performance.now();
      await test.hub.publish([update('known', String(n))]);
      await honest.has(2 + n);
      took.push(performance.now() - published);
      passing.leave();
    }
    // Matching all of them anew took 200 ms each time.
    took.sort((a, b) => a - b);
    expect(took[25]).toBeLessThan(100);
  });
});

test('an update of a hundred new topics, which all templates match, does not keep the next one waiting', async () => {
  const test = await openTestHub();
  for (let n = 0; n < 500; n += 1) {
    const { stream } = new HubClient();
    const templates = Array.from({ length: 100 }, (_, k) => `{+v${n}_${k}}`);
    test.hub.subscribe(stream, selection(templates));
  }
  const honest = await subscribe(test, ['live']);
  await test.hub.publish([update('live', 'warm up')]);
  await honest.has(1);
  const topics = Array.from({ length: 100 }, (_, n) => `multi/${n}`);
  const published = performance.now();
  const longest = await longestDelay(async () => {
    await test.hub.publish([{ topics, data: 'x' }, update('live', 'next')]);
    await honest.has(2);
  });
  // Some 30 ms are usual. It took 20 seconds when the work began anew in every slice.
  expect(performance.now() - published).toBeLessThan(1_000);
  expect(longest).toBeLessThan(300);
});

describe('what templates cost', () => {
  const services: Service[] = [];

  afterEach(async () => {
    await Promise.all(services.splice(0).map((service) => service.stop()));
  });

  const start = async (env: Record<string, string>) => {
    const service = await startTestService(env);
    services.push(service);
    return service;
  };
  const urlOf = (service: Service, topics: readonly string[]) =>
    `${service.url}/hub?${new URLSearchParams(topics.map((topic) => ['topic', topic]))}`;

  test('is limited for one subscription: a client is told what to do', async () => {
    const service = await start({});
    const topics = Array.from(
      { length: 5 },
      (_, n) => `{${Array.from({ length: 20 }, (_, m) => `a${n}${m}:100`).join('}{')}}`,
    );
    const response = await fetch(urlOf(service, topics));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      detail: expect.stringMatching(
        /^topic: to match the templates costs \d+, more than the 1500 allowed/,
      ),
    });
    const plain = Array.from({ length: 100 }, (_, n) => `https://example.com/${n}/books/{id}`);
    const client = await connect(urlOf(service, plain));
    expect(client.response.statusCode).toBe(200);
    client.abort();
  });

  /** Templates that start alike, each of which costs 14. */
  const alike = (count: number, first = 0) =>
    Array.from({ length: count }, (_, n) => `https://example.com/{id}/${first + n}`);

  test('is limited by MAX_TEMPLATE_COST for many that start alike, each different template once', async () => {
    const { cost } = compileSelector(alike(1)[0] as string);
    expect(cost).toBe(14);
    // 35 are free, and ten more are allowed.
    const service = await start({ MAX_TEMPLATE_COST: String(10 * cost) });
    const url = (topics: readonly string[]) => urlOf(service, topics);
    const clients = await Promise.all(
      [alike(45), alike(45), alike(20, 10)].map((topics) => connect(url(topics))),
    );
    expect(clients.map(({ response }) => response.statusCode)).toEqual([200, 200, 200]);
    const refused = await fetch(url(alike(1, 45)));
    expect(refused.status).toBe(503);
    expect(refused.headers.get('Retry-After')).toBe('10');
    expect(await refused.json()).toMatchObject({
      detail: expect.stringContaining('MAX_TEMPLATE_COST'),
    });
    const withToken = await connect(url(alike(1, 45)), {
      Authorization: `Bearer ${await tokenFor()}`,
    });
    expect(withToken.response.statusCode).toBe(200);
    // Those in use are served even if clients with a token have gone beyond the limit; and those that start otherwise.
    for (const topic of [...alike(1), 'no template', '*', 'https://example.com/books/{id}']) {
      const served = await connect(url([topic]));
      expect(served.response.statusCode).toBe(200);
      served.abort();
    }
    withToken.abort();
    for (const client of clients) client.abort();
    for (;;) {
      const again = await connect(url(alike(1, 45)));
      const { statusCode } = again.response;
      again.abort();
      if (statusCode === 200) break;
    }
  });

  test('is limited for all together to 10 times that, however they start', async () => {
    const service = await start({ MAX_TEMPLATE_COST: '140' });
    const apart = (count: number, first = 0) =>
      Array.from({ length: count }, (_, n) => `https://example.com/${first + n}/{id}`);
    const client = await connect(urlOf(service, apart(100)));
    expect(client.response.statusCode).toBe(200);
    expect((await fetch(urlOf(service, apart(1, 100)))).status).toBe(503);
    client.abort();
  });
});
