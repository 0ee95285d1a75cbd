import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import request from 'supertest';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { connect, type SseClient } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const HUB = '/.well-known/mercure';

let service: Service;
let token: string;

beforeAll(async () => {
  service = await startTestService({ SUBSCRIPTIONS: 'true', MAX_BODY_BYTES: '200000' });
  token = await tokenFor();
});

afterAll(() => service.stop());

const post = (bearer = token) =>
  request(service.url).post(HUB).set('Authorization', `Bearer ${bearer}`);

const publish = (topic: string, data: string, more: Record<string, string> = {}) =>
  post()
    .type('form')
    .send({ topic, data, ...more });

function subscribe(
  topics: string | string[],
  query = '',
  headers: Record<string, string> = {},
): Promise<SseClient> {
  const parameters = [topics].flat().map((topic) => `topic=${encodeURIComponent(topic)}`);
  return connect(`${service.url}${HUB}?${parameters.join('&')}${query}`, headers);
}

let topics = 0;
/** A topic that no other test uses. */
function freshTopic(): string {
  topics += 1;
  return `https://example.com/${topics}`;
}

describe('publishing', () => {
  test('a form is answered 200, text/plain, with the id that subscribers see', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const response = await publish(topic, 'hello\nworld', { type: 'greeting', retry: '2500' });
    expect(response.status).toBe(200);
    expect(response.type).toBe('text/plain');
    expect(response.text).toMatch(/^\d{13}-\d+$/);
    expect(await client.next()).toEqual({
      id: response.text,
      event: 'greeting',
      data: 'hello\nworld',
    });
    expect(client.bytes().toString()).toContain('retry: 2500\n');
    client.abort();
  });

  test('a topic that no update can have is 400 before it is asked whether the token covers it', async () => {
    const limited = await tokenFor({ publish: ['books/{a,b,c}/{d,e,f}'] });
    const response = await post(limited).send({ topic: 'b'.repeat(150_000) });
    expect(response.status).toBe(400);
    expect(response.body.detail).toBe('topic is longer than the 1024 bytes allowed.');
  });

  test('an update that cannot be is 400 under an Idempotency-Key that was used, too', async () => {
    const topic = freshTopic();
    await publish(topic, '1').set('Idempotency-Key', topic).expect(200);
    const response = await publish(topic, '1', { id: '#' }).set('Idempotency-Key', topic);
    expect(response.status).toBe(400);
    expect(response.body.detail).toMatch(/^id must not start with #/);
  });

  test('reaches subscribers of any of its topics; data may be missing', async () => {
    const [canonical, alternate] = [freshTopic(), freshTopic()];
    const clients = [await subscribe(canonical), await subscribe(alternate)];
    const response = await post().type('form').send(`topic=${canonical}&topic=${alternate}`);
    expect(response.status).toBe(200);
    for (const client of clients) {
      expect(await client.next()).toMatchObject({ id: response.text, data: '' });
      client.abort();
    }
  });

  test('JSON has one object, whose data may be an object', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const response = await post().send({
      topic: [topic],
      data: { price: 7 },
      id: 'urn:7',
      type: 't',
    });
    expect(response.status).toBe(200);
    expect(response.text).toBe('urn:7');
    expect(await client.next()).toEqual({ id: 'urn:7', event: 't', data: '{"price":7}' });
    client.abort();
  });

  test('NDJSON has one object a line, all or nothing, and is answered with the ids', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const ndjson = (lines: object[]) =>
      post()
        .type('application/x-ndjson')
        .send(lines.map((line) => JSON.stringify(line)).join('\n'));
    const refused = await ndjson([{ topic, data: '1' }, { data: 'no topic' }]);
    expect(refused.status).toBe(400);
    expect(refused.body.detail).toMatch(/^line 2: topic/);
    const response = await ndjson([{ topic, data: 'a' }, { topic, data: ['b'] }, { topic }]);
    expect(response.status).toBe(200);
    expect(await client.take(3)).toEqual([
      { id: response.body[0], event: undefined, data: 'a' },
      { id: response.body[1], event: undefined, data: '["b"]' },
      { id: response.body[2], event: undefined, data: '' },
    ]);
    client.abort();
  });

  test('what no UTF-8 can carry arrives as U+FFFD, in every form of an update', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const lines = [
      { topic, data: 'plain \ud800' },
      { topic: [topic, '\udc00'], data: 'listed \ud800' },
      { topic, data: ['nested \ud800'] },
    ];
    const response = await post()
      .type('application/x-ndjson')
      .send(lines.map((line) => JSON.stringify(line)).join('\n'));
    expect(response.status).toBe(200);
    const received = await client.take(3);
    expect(received.slice(0, 2).map(({ data }) => data)).toEqual(['plain \ufffd', 'listed \ufffd']);
    client.abort();
  });

  test.each([
    ['an empty topic', { topic: '', data: 'x' }, 'topic is empty.'],
    [
      'a topic that is no text',
      { topic: 1, data: 'x' },
      'topic must be a text or a list of texts.',
    ],
    [
      'a field that is not known',
      { topic: 'a', data: 'x', dat: 'y' },
      'dat: there is no such field.',
    ],
    ['no topic, but another field', { data: 'x', type: 'y' }, 'topic is missing.'],
    ['a list', ['a', 'x'], 'The update must be a JSON object.'],
  ])('NDJSON is refused with the line, blank ones counted, of %s', async (_, line, detail) => {
    const response = await post()
      .type('application/x-ndjson')
      .send(['{"topic":"a","data":"x"}', '', JSON.stringify(line)].join('\n'));
    expect(response.status).toBe(400);
    expect(response.body.detail).toBe(`line 3: ${detail}`);
  });

  test('/hub is the same resource under a short name', async () => {
    const topic = freshTopic();
    const client = await connect(`${service.url}/hub?topic=${topic}`);
    await request(service.url)
      .post('/hub')
      .set('Authorization', `Bearer ${token}`)
      .type('form')
      .send({ topic, data: 'x' })
      .expect(200);
    expect(await client.next()).toMatchObject({ data: 'x' });
    client.abort();
  });

  test.each([
    ['no topic', { data: 'x' }, /^topic/],
    ['an empty topic', { topic: '' }, /^topic is empty/],
    ['an endless topic', { topic: 'x'.repeat(1025) }, /^topic is longer than the 1024 bytes/],
    ['too many topics', { topic: Array.from({ length: 101 }, (_, n) => `t${n}`) }, /^topic .*100/],
    ['an id that starts with #', { topic: 't', id: '#1' }, /^id must not start with #/],
    ['the id earliest', { topic: 't', id: 'earliest' }, /^id must not be earliest/],
    ['an id of the form of ours', { topic: 't', id: '1795196765777-1' }, /^id has the form/],
    ['an endless id', { topic: 't', id: 'é'.repeat(129) }, /^id is longer than the 256 bytes/],
    ['a line break in id', { topic: 't', id: 'a\nb' }, /^id contains/],
    ['NUL in type', { topic: 't', type: 'a\0b' }, /^type contains/],
    ['CR in type', { topic: 't', type: 'a\rb' }, /^type contains/],
    ['an endless type', { topic: 't', type: 'x'.repeat(257) }, /^type is longer/],
    ['a retry that is no number', { topic: 't', retry: '1.5' }, /^retry/],
    ['a negative retry', { topic: 't', retry: '-1' }, /^retry/],
  ])('%s is 400 and names the field, as a form and as JSON', async (_, fields, detail) => {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(fields)) {
      for (const each of [value].flat()) form.append(name, String(each));
    }
    for (const response of [
      await post().type('form').send(form.toString()),
      await post().send(fields),
    ]) {
      expect(response.status).toBe(400);
      expect(response.type).toBe('application/problem+json');
      expect(response.body.detail).toMatch(detail);
    }
  });

  test.each([
    [
      `{"topic":"t","data":${'['.repeat(20_000)}${']'.repeat(20_000)}}`,
      /nested more than the 100 levels/,
    ],
    [`{"topic":${JSON.stringify(Array(20_000).fill('t'))}}`, /^topic is given more than/],
    ['{"topic":"t","id":" x"}', /^id begins or ends with a space/],
    ['{', /not valid JSON/],
    ['[]', /must be a JSON object/],
    ['{}', /^topic is missing/],
    ['{"topic": []}', /^topic is missing/],
    ['{"topic": ["a", 5]}', /^topic/],
    ['{"topic": 5}', /^topic must be/],
    ['{"topic": "t", "private": "yes"}', /^private must be true or false/],
    ['{"topic": "t", "topics": ["u"]}', /^topics: there is no such field/],
  ])('JSON that is no update is 400: %.60s', async (body, detail) => {
    const response = await post().type('json').send(body);
    expect(response.status).toBe(400);
    expect(response.body.detail).toMatch(detail);
  });

  test('NDJSON of more than 10,000 updates is 413', async () => {
    const response = await post().type('application/x-ndjson').send('{}\n'.repeat(10_001));
    expect(response.status).toBe(413);
    expect(response.body.detail).toContain('10000');
  });

  test('a body over the limit is 413, of another type 415', async () => {
    expect((await publish('t', 'x'.repeat(200_001))).status).toBe(413);
    expect((await post().type('text/plain').send('topic=t')).status).toBe(415);
  });

  test("topics that contain the hub's path are its own: 403", async () => {
    for (const topic of [`${HUB}/subscriptions/x`, `https://example.com${HUB}`]) {
      const response = await publish(topic, 'x');
      expect(response.status).toBe(403);
      expect(response.headers['www-authenticate']).toContain('insufficient_scope');
    }
  });

  test('needs a token that covers every topic', async () => {
    const some = await tokenFor({ publish: ['https://example.com/{id}'] });
    const form = (bearer: string, ...topics: string[]) =>
      post(bearer)
        .type('form')
        .send(topics.map((topic) => `topic=${topic}`).join('&'));
    expect((await form(some, 'https://example.com/x')).status).toBe(200);
    const beyond = await form(some, 'https://example.com/x', 'https://example.org/');
    expect(beyond.status).toBe(403);
    expect(beyond.body.detail).toContain('https://example.org/');
    expect((await form(await tokenFor({ subscribe: ['*'] }), 'x')).status).toBe(403);
    const without = await request(service.url).post(HUB).type('form').send('topic=x');
    expect(without.status).toBe(401);
    expect(without.headers['www-authenticate']).toMatch(/^Bearer/);
  });

  test('a repeated id publishes once: the same is answered again, another is 422', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const id = `urn:${topic}`;
    for (let n = 0; n < 3; n += 1) {
      const response = await publish(topic, 'same', { id });
      expect([response.status, response.text]).toEqual([200, id]);
    }
    expect((await publish(topic, 'other', { id })).status).toBe(422);
    await publish(topic, 'next');
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['same', 'next']);
    client.abort();
  });

  test('an Idempotency-Key publishes once: same body, same answer; another body is 422', async () => {
    const topic = freshTopic();
    const client = await subscribe(topic);
    const send = (data: string) => publish(topic, data).set('Idempotency-Key', topic);
    const answers = await Promise.all([send('1'), send('1'), send('1')]);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    const other = await send('2');
    expect(other.status).toBe(422);
    expect(other.body.detail).toMatch(/Idempotency-Key/);
    await publish(topic, 'next');
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['1', 'next']);
    client.abort();
  });

  test('an Idempotency-Key is one for both paths of the hub', async () => {
    const topic = freshTopic();
    const ids = [];
    for (const path of [HUB, '/hub']) {
      const response = await request(service.url)
        .post(path)
        .set({ Authorization: `Bearer ${token}`, 'Idempotency-Key': topic })
        .type('form')
        .send({ topic });
      ids.push(response.text);
    }
    expect(ids[0]).toBe(ids[1]);
  });
});

describe('subscribing', () => {
  test('is answered with an event stream at once', async () => {
    const client = await subscribe(freshTopic());
    expect(client.response.statusCode).toBe(200);
    expect(client.response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect(client.response.headers['last-event-id']).toBeUndefined();
    client.abort();
  });

  test.each([
    ['no topic', '', /^topic is missing/],
    ['too many topics', `?${'topic=a&'.repeat(101)}`, /100 times/],
    ['too many variables', `?${'topic={a,b,c,d,e,f}&'.repeat(20)}`, /^topic: .*100 variables/],
    ['an endless selector', `?topic=${'x'.repeat(1025)}`, /^topic: .*1024 bytes/],
  ])('%s is 400', async (_, query, detail) => {
    const response = await request(service.url).get(HUB + query);
    expect(response.status).toBe(400);
    expect(response.body.detail).toMatch(detail);
  });

  test('HEAD is checked like GET, and registers nothing', async () => {
    expect((await request(service.url).head(`${HUB}?topic=x`)).status).toBe(200);
    expect((await request(service.url).head(HUB)).status).toBe(400);
    expect((await request(service.url).head(`${HUB}?topic=x&authorization=bad`)).status).toBe(401);
  });

  test('a bad token is 401, no token subscribes to what is public', async () => {
    const topic = freshTopic();
    const bad = await request(service.url)
      .get(`${HUB}?topic=x`)
      .set('Authorization', 'Bearer x.y.z');
    expect(bad.status).toBe(401);
    expect(bad.headers['www-authenticate']).toContain('error="invalid_token"');
    const anonymous = await subscribe(topic);
    const granted = await subscribe(topic, '', { Authorization: `Bearer ${token}` });
    await publish(topic, 'secret', { private: 'on' });
    await publish(topic, 'public');
    expect(await anonymous.next()).toMatchObject({ data: 'public' });
    expect((await granted.take(2)).map(({ data }) => data)).toEqual(['secret', 'public']);
    const replayed = await subscribe(topic, '&lastEventID=earliest');
    expect(await replayed.next()).toMatchObject({ data: 'public' });
    for (const client of [anonymous, granted, replayed]) client.abort();
  });

  test('where anonymous subscribers are not allowed, no token is 401', async () => {
    const closed = await startTestService({ ANONYMOUS: 'false' });
    expect((await request(closed.url).get(`${HUB}?topic=x`)).status).toBe(401);
    const client = await connect(`${closed.url}${HUB}?topic=x&authorization=${token}`);
    expect(client.response.statusCode).toBe(200);
    client.abort();
    await closed.stop();
  });

  test('the stream is closed when its token expires', async () => {
    const brief = await tokenFor({ subscribe: ['*'], ttlSeconds: 2 });
    const client = await subscribe(freshTopic(), '', { Authorization: `Bearer ${brief}` });
    await client.ended;
  });

  test('the header wins over the query, and the answer says where it starts', async () => {
    const topic = freshTopic();
    const ids = [];
    for (const data of ['1', '2', '3']) ids.push((await publish(topic, data)).text);
    const byQuery = await subscribe(topic, `&lastEventID=${ids[0]}`);
    const byHeader = await subscribe(topic, `&lastEventID=${ids[0]}`, {
      'Last-Event-ID': ids[1] as string,
    });
    const earliest = await subscribe(topic, '&lastEventID=earliest');
    const unknown = await subscribe(topic, '&lastEventID=nobody');
    expect(byQuery.response.headers['last-event-id']).toBe(ids[0]);
    expect(byHeader.response.headers['last-event-id']).toBe(ids[1]);
    expect(earliest.response.headers['last-event-id']).toBe('earliest');
    expect(unknown.response.headers['last-event-id']).toBe('earliest');
    expect((await byQuery.take(2)).map(({ data }) => data)).toEqual(['2', '3']);
    expect((await byHeader.next()).data).toBe('3');
    expect((await earliest.take(3)).map(({ data }) => data)).toEqual(['1', '2', '3']);
    expect((await unknown.take(2)).map(({ event, data }) => event ?? data)).toEqual(['gap', '1']);
    for (const client of [byQuery, byHeader, earliest, unknown]) client.abort();
  });

  test('resumes after an id beyond Latin-1, sent as the bytes that browsers send', async () => {
    const topic = freshTopic();
    await publish(topic, '1', { id: 'größe 世界' });
    await publish(topic, '2');
    const client = await subscribe(topic, '', {
      'Last-Event-ID': Buffer.from('größe 世界').toString('latin1'),
    });
    expect(decodeURIComponent(String(client.response.headers['last-event-id']))).toBe('größe 世界');
    expect((await client.next()).data).toBe('2');
    client.abort();
  });

  test('latest=1 sends the newest update of each topic first', async () => {
    const topic = freshTopic();
    for (const data of ['1', '2']) await publish(`${topic}/a`, data);
    await publish(`${topic}/b`, '3');
    const client = await subscribe(`${topic}/{x}`, '&latest=1');
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['2', '3']);
    await publish(`${topic}/a`, '4');
    expect((await client.next()).data).toBe('4');
    client.abort();
  });

  test('100,000 missed updates are streamed in order to a client that reads slowly', async () => {
    const topic = freshTopic();
    const [first] = [(await publish(topic, 'first')).text];
    for (let n = 0; n < 100_000; n += 2_000) {
      const lines = Array.from(
        { length: 2_000 },
        (_, m) => `{"topic":"${topic}","data":"${n + m}"}`,
      );
      await post().type('application/x-ndjson').send(lines.join('\n')).expect(200);
    }
    const client = await subscribe(topic, '', { 'Last-Event-ID': first });
    client.response.pause();
    await publish(topic, 'live');
    client.response.resume();
    const received = (await client.take(100_001)).map(({ data }) => data);
    expect(received).toEqual([...Array.from({ length: 100_000 }, (_, n) => String(n)), 'live']);
    client.abort();
  });
});

describe('discovery', () => {
  test('the page links to the hub', async () => {
    const response = await request(service.url).get('/');
    expect(response.headers.link).toBe(`<${HUB}>; rel="mercure"`);
  });
});

describe('active subscriptions', () => {
  const read = (path: string, bearer: string | undefined = token) => {
    const get = request(service.url).get(`${HUB}/subscriptions${path}`);
    return bearer === '' ? get : get.set('Authorization', `Bearer ${bearer}`);
  };

  test('their start and end are published to those who may know', async () => {
    const topic = freshTopic();
    const watcher = await subscribe(
      `${HUB}/subscriptions/${encodeURIComponent(topic)}{/subscriber}`,
      '',
      { Authorization: `Bearer ${token}` },
    );
    const stranger = await subscribe('*');
    const carrying = await tokenFor({ subscribe: [], payload: { user: 'ada' } });
    const client = await subscribe(topic, '', { Authorization: `Bearer ${carrying}` });
    const started = JSON.parse((await watcher.next()).data);
    expect(started).toEqual({
      id: `${HUB}/subscriptions/${encodeURIComponent(topic)}/${encodeURIComponent(started.subscriber)}`,
      type: 'Subscription',
      topic,
      subscriber: expect.stringMatching(/^urn:uuid:/),
      active: true,
      payload: { user: 'ada' },
    });
    client.abort();
    expect(JSON.parse((await watcher.next()).data)).toEqual({ ...started, active: false });
    await publish(topic, 'the first that a stranger sees');
    expect((await stranger.next()).data).toBe('the first that a stranger sees');
    watcher.abort();
    stranger.abort();
  });

  test('are read as a collection, by selector, and one by one', async () => {
    const topic = freshTopic();
    const clients = [await subscribe([topic, 'other/{x}']), await subscribe(topic)];
    const all = await read('');
    expect(all.status).toBe(200);
    expect(all.type).toBe('application/ld+json');
    expect(all.body).toMatchObject({
      '@context': 'https://mercure.rocks/',
      id: `${HUB}/subscriptions`,
      type: 'Subscriptions',
      lastEventID: expect.stringMatching(/^\d+-\d+$/),
    });
    const path = `/${encodeURIComponent(topic)}`;
    const some = await read(path);
    expect(some.body.id).toBe(`${HUB}/subscriptions${path}`);
    expect(some.body.subscriptions).toHaveLength(2);
    const [first] = some.body.subscriptions;
    expect(first).toMatchObject({ type: 'Subscription', topic, active: true });
    const one = await read(first.id.slice(`${HUB}/subscriptions`.length));
    expect(one.body).toEqual({
      '@context': 'https://mercure.rocks/',
      ...first,
      lastEventID: some.body.lastEventID,
    });
    expect((await read(`${path}/nobody`)).status).toBe(404);
    for (const client of clients) client.abort();
  });

  test('are unchanged as long as the newest id is: ETag and 304', async () => {
    const first = await read('');
    expect(first.headers.etag).toBe(`"${first.body.lastEventID}"`);
    const second = await read('').set('If-None-Match', first.headers.etag as string);
    expect(second.status).toBe(304);
  });

  test('need a token whose subscribe claim covers the path: 401 without, 403 with another', async () => {
    expect((await read('', '')).status).toBe(401);
    expect((await read('', await tokenFor({ subscribe: ['x'] }))).status).toBe(403);
    const fitting = await tokenFor({ subscribe: [`${HUB}/subscriptions{/topic}{/subscriber}`] });
    expect((await read('', fitting)).status).toBe(200);
    expect((await read('/x', fitting)).status).toBe(200);
  });

  test('are not to be had unless they are switched on', async () => {
    const without = await startTestService();
    const response = await request(without.url)
      .get(`${HUB}/subscriptions`)
      .set('Authorization', `Bearer ${token}`);
    expect(response.status).toBe(404);
    await without.stop();
  });
});

describe('malformed requests', () => {
  test('thousands of random ones are never answered 5xx, and the service goes on', async () => {
    const text = fc.string({ unit: 'binary', maxLength: 30 });
    const value = fc.oneof(
      text,
      fc.constantFrom('', '{', '{a', '*', '#', 'earliest', '\r\n', '\0'),
    );
    const body = fc.oneof(
      text,
      fc.json(),
      fc
        .record({ topic: value, data: value, id: value, type: value, retry: value, private: value })
        .map((fields) => JSON.stringify(fields)),
      fc
        .array(fc.tuple(fc.constantFrom('topic', 'id', 'type', 'retry', 'data'), value))
        .map((pairs) => new URLSearchParams(pairs).toString()),
    );
    const type = fc.constantFrom(
      'application/json',
      'application/x-ndjson',
      'application/x-www-form-urlencoded',
      'text/plain',
    );
    const visible = (text: string) => text.replace(/[^\x20-\x7e]/g, '.');
    await fc.assert(
      fc.asyncProperty(body, type, value, fc.boolean(), async (body, type, value, authorized) => {
        const headers: Record<string, string> = {
          'Content-Type': type,
          'Idempotency-Key': visible(value),
          ...(authorized && { Authorization: `Bearer ${token}` }),
        };
        const posted = await fetch(service.url + HUB, { method: 'POST', headers, body });
        await posted.arrayBuffer();
        expect(posted.status).toBeLessThan(500);

        const query = new URLSearchParams([
          ['topic', value],
          ['lastEventID', value],
          ['latest', value],
          ...(authorized ? [] : [['authorization', value]]),
        ] as [string, string][]);
        const abort = new AbortController();
        const got = await fetch(`${service.url}${HUB}?${query}`, {
          headers: { 'Last-Event-ID': visible(value) },
          signal: abort.signal,
        });
        expect(got.status).toBeLessThan(500);
        abort.abort();
      }),
      { numRuns: 1500 },
    );
    await publish('still here', 'x').expect(200);
  });
});
