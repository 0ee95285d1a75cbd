import { afterEach, describe, expect, test } from '@jest/globals';
import Koa from 'koa';
import request from 'supertest';
import { Hub } from '../src/hub/hub.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import {
  createAuthorizer,
  type MercureOptions,
  mercure,
  Presence,
  readKeys,
  SUBSCRIPTIONS_PATH,
} from '../src/mercure/index.js';
import { JWT_KEY, serve, type TestServer } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

let server: TestServer;
let hub: Hub;
const errors: unknown[] = [];

afterEach(async () => {
  await server.close();
  hub.close();
  errors.length = 0;
});

/** An app that has a page of its own beside the protocol, and nothing else of ours. */
async function mount(options: Partial<MercureOptions> = {}): Promise<void> {
  const journal = openMemoryJournal({ maxUpdates: 1_000, maxAgeMs: 0 });
  hub = await Hub.open(journal, { transientTopics: `${SUBSCRIPTIONS_PATH}/` });
  const authorizer = createAuthorizer({
    keys: readKeys({ JWT_KEY }),
    anonymous: true,
    origins: '*',
  });
  const app = new Koa();
  app.on('error', (error) => errors.push(error));
  app.use(mercure({ hub, authorizer, path: '/live/updates', ...options }));
  app.use((ctx) => {
    if (ctx.path === '/page') ctx.body = 'a page';
    if (ctx.path === '/broken') throw new Error('broken');
  });
  server = await serve(app);
}

async function publish(fields: Record<string, string>): Promise<string> {
  const post = request(server.url).post('/live/updates').type('form');
  const { status, text } = await post.auth(await tokenFor(), { type: 'bearer' }).send(fields);
  expect(status).toBe(200);
  return text;
}

describe('the protocol, mounted in an app of its own', () => {
  test('publishes, subscribes and replays under a path of the app', async () => {
    await mount();
    const client = await connect(`${server.url}/live/updates?topic=news`);
    const first = await publish({ topic: 'news', data: 'one' });
    expect(await client.next()).toMatchObject({ id: first, data: 'one' });
    client.abort();
    await publish({ topic: 'news', data: 'two' });

    const again = await connect(`${server.url}/live/updates?topic=news`, {
      'Last-Event-ID': first,
    });
    expect(await again.next()).toMatchObject({ data: 'two' });
    again.abort();
  });

  test('leaves every other path to the app, its errors too', async () => {
    await mount();
    expect((await request(server.url).get('/page')).text).toBe('a page');
    expect((await request(server.url).get('/live')).type).toBe('text/plain');
    const broken = await request(server.url).get('/broken');
    expect([broken.status, broken.type]).toEqual([500, 'text/plain']);
    expect((await request(server.url).get('/.well-known/mercure?topic=a')).status).toBe(404);
  });

  test('answers its errors as problem documents, and logs none that a client has made', async () => {
    await mount();
    const url = '/live/updates';
    const answers = [
      await request(server.url).get(url),
      await request(server.url).post(url).type('form').send({ topic: 'a' }),
      await request(server.url).delete(url),
    ];
    expect(answers.map(({ status }) => status)).toEqual([400, 401, 405]);
    for (const { type } of answers) expect(type).toBe('application/problem+json');
    expect(errors).toEqual([]);
  });

  test('bounds what a publisher may send', async () => {
    await mount({ maxBodyBytes: 100 });
    const post = request(server.url).post('/live/updates').type('form');
    const { status } = await post
      .auth(await tokenFor(), { type: 'bearer' })
      .send({ topic: 'news', data: 'x'.repeat(101) });
    expect(status).toBe(413);
  });

  test('asks the guards of the app, each at its place', async () => {
    const met: string[] = [];
    const guard = (name: string) => (_: unknown, next: () => Promise<unknown>) => {
      met.push(name);
      return next();
    };
    await mount({
      guards: {
        arrival: guard('arrival'),
        subscriber: (ctx, next) => {
          met.push(`subscriber of ${ctx.subscriber.selection.selectors[0]?.text}`);
          return next();
        },
        stream: (ctx, next) => {
          met.push(`stream ${ctx.eventStream.writable}`);
          return next();
        },
        publisher: (ctx, next) => {
          met.push(`publisher of ${ctx.state.grants.publish[0]?.text}`);
          return next();
        },
      },
    });
    const client = await connect(`${server.url}/live/updates?topic=news`);
    expect(met.splice(0)).toEqual(['arrival', 'subscriber of news', 'stream true']);
    client.abort();
    await publish({ topic: 'news' });
    expect(met).toEqual(['publisher of *']);
  });

  test('tells who is subscribed, where the app has put it', async () => {
    await mount({
      presence: new Presence({ publish: (updates, options) => hub.publish(updates, options) }),
    });
    const token = await tokenFor();
    const watcher = await connect(
      `${server.url}/live/updates?topic=${SUBSCRIPTIONS_PATH}/news{/subscriber}&authorization=${token}`,
    );
    const client = await connect(`${server.url}/live/updates?topic=news`);
    const started = JSON.parse((await watcher.next()).data);
    const listed = await request(server.url)
      .get('/live/updates/subscriptions/news')
      .auth(token, { type: 'bearer' });
    expect(listed.body.subscriptions).toEqual([started]);
    expect(listed.headers.link).toBe('</live/updates>; rel="mercure"');
    client.abort();
    watcher.abort();
  });
});
