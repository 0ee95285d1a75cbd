import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ConfigError } from '../src/config.js';
import type { Service } from '../src/service.js';
import { startTestService, testConfig } from './support/server.js';
import { connect } from './support/sse-client.js';

let none: Service;
let some: Service;

beforeAll(async () => {
  none = await startTestService({ FEEDS: 'none' });
  some = await startTestService({ FEEDS: 'counter events,counter' });
});

afterAll(() => Promise.all([none.stop(), some.stop()]));

/** Status, headers and body of an answer, less what tells the path and the moment. */
async function answer(url: string, method: string, headers: Record<string, string> = {}) {
  const client = request(url, { method, headers, agent: false });
  client.end();
  const [response] = await once(client, 'response');
  const message = response as IncomingMessage;
  const body = await text(message);
  return {
    status: message.statusCode,
    headers: { ...message.headers, date: undefined, 'content-length': undefined },
    body: body.replace(new URL(url).pathname, 'PATH'),
  };
}

const PREFLIGHT = {
  Origin: 'https://app.example',
  'Access-Control-Request-Method': 'POST',
  'Access-Control-Request-Headers': 'content-type',
};

describe('a feed that is off', () => {
  const paths = ['/stream', '/events', '/counter', '/messages?id=ada', '/message?id=ada'];

  describe.each(paths)('%s', (path) => {
    test.each(['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS'])(
      'is 404 to %s, just as a path at which there never was anything',
      async (method) => {
        const headers = { Origin: 'https://app.example' };
        const off = await answer(none.url + path, method, headers);
        expect(off.status).toBe(404);
        expect(off).toEqual(await answer(`${none.url}/nowhere`, method, headers));
      },
    );

    test('is no exception for a preflight', async () => {
      const off = await answer(none.url + path, 'OPTIONS', PREFLIGHT);
      expect(off).toEqual(await answer(`${none.url}/nowhere`, 'OPTIONS', PREFLIGHT));
    });
  });

  test('leaves those that are on, and the hub', async () => {
    for (const path of ['/counter', '/events', '/hub?topic=news']) {
      const client = await connect(some.url + path);
      expect(client.response.statusCode).toBe(200);
      client.abort();
    }
    for (const path of ['/stream', '/messages']) {
      expect((await answer(some.url + path, 'GET')).status).toBe(404);
    }
  });

  test('is told to the page, whose copies in caches are then no longer good', async () => {
    const pages = await Promise.all([fetch(none.url), fetch(some.url)]);
    const [without, two] = await Promise.all(pages.map((page) => page.text()));
    expect(without).toContain('data-feeds=""');
    expect(two).toContain('data-feeds="counter events"');
    const [old, now] = pages.map((page) => page.headers.get('ETag'));
    expect(old).not.toBe(now);
  });
});

test('a list with an unknown feed is refused at the start, with those that there are', () => {
  expect(() => testConfig({ FEEDS: 'stream chess' })).toThrow(ConfigError);
  expect(() => testConfig({ FEEDS: 'stream chess' })).toThrow(
    /^FEEDS must be none or a list of stream, events, counter, chat, not "stream chess"$/,
  );
});

describe('the chat', () => {
  test.each(['GET', 'HEAD'])('finds the same wrong with %s', async (method) => {
    const service = await startTestService();
    const url = `${service.url}/messages`;
    const answers = [
      await answer(`${url}?id=${'x'.repeat(129)}`, method),
      await answer(`${url}?id=%20`, method),
      await answer(`${url}?id=a&id=b`, method),
    ];
    expect(answers.map(({ status }) => status)).toEqual([400, 400, 400]);
    await service.stop();
  });
});
