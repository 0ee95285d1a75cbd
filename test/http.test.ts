import { connect as connectSocket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import request from 'supertest';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';

let open: Service;
let listed: Service;

beforeAll(async () => {
  open = await startTestService({ MAX_BODY_BYTES: '2000' });
  listed = await startTestService({
    CORS_ORIGINS: 'https://app.example, https://admin.example:8443',
  });
});

afterAll(() => Promise.all([open.stop(), listed.stop()]));

describe('problems', () => {
  test('an unknown path is 404', async () => {
    const response = await request(open.url).get('/nothing/here');
    expect(response.status).toBe(404);
    expect(response.type).toBe('application/problem+json');
    expect(response.body).toEqual({
      title: 'Not Found',
      status: 404,
      detail: 'There is nothing at /nothing/here.',
    });
  });

  test.each([
    ['delete', '/stream', 'HEAD, GET'],
    ['put', '/', 'HEAD, GET'],
    ['get', '/message', 'POST'],
    ['propfind', '/counter', 'HEAD, GET'],
  ] as const)('%s %s is 405 and Allow says what is allowed', async (method, path, allow) => {
    const response = await request(open.url)[method](path);
    expect(response.status).toBe(405);
    expect(response.headers.allow).toBe(allow);
    expect(response.type).toBe('application/problem+json');
    expect(response.body).toMatchObject({ status: 405, title: 'Method Not Allowed' });
    expect(response.body.detail).toContain(allow);
  });

  test('a request that does not accept an event stream is 406', async () => {
    const response = await request(open.url).get('/stream').set('Accept', 'application/json');
    expect(response.status).toBe(406);
    expect(response.type).toBe('application/problem+json');
  });

  test.each(['application/json', 'application/x-www-form-urlencoded'])(
    'a body over MAX_BODY_BYTES is 413: %s',
    async (type) => {
      const response = await request(open.url)
        .post('/message?id=1')
        .set('Content-Type', type)
        .send('x'.repeat(2001));
      expect(response.status).toBe(413);
      expect(response.body.detail).toContain('2000 bytes');
    },
  );

  test('a small body that unpacks to one over the limit is 413', async () => {
    const bomb = gzipSync(JSON.stringify({ message: 'x'.repeat(100_000) }));
    const response = await request(open.url)
      .post('/message?id=1')
      .set({ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' })
      .serialize((body) => body)
      .send(bomb);
    expect(response.status).toBe(413);
  });

  test.each(['{', '{"message": "Hi"', 'nonsense', '"text"', 'null'])(
    'malformed JSON is 400: %s',
    async (body) => {
      const response = await request(open.url)
        .post('/message?id=1')
        .set('Content-Type', 'application/json')
        .send(body);
      expect(response.status).toBe(400);
      expect(response.body.detail).toMatch(/not valid JSON/);
    },
  );

  test('a body that is not what its Content-Encoding says is 400', async () => {
    const response = await request(open.url)
      .post('/message?id=1')
      .set({ 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' })
      .send('{"message": "not gzip"}');
    expect(response.status).toBe(400);
    expect(response.body.detail).toMatch(/cannot be read/);
  });

  test('a body of another type is 415', async () => {
    const response = await request(open.url)
      .post('/message?id=1')
      .set('Content-Type', 'text/plain')
      .send('Hi');
    expect(response.status).toBe(415);
  });

  test('no malformed request is answered 5xx, fills the log or ends the process', async () => {
    const log = jest.spyOn(console, 'error');
    const port = Number(new URL(open.url).port);
    const text = fc.string({ unit: 'binary-ascii', maxLength: 60 });
    const requestText = fc
      .tuple(
        fc.constantFrom('GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'BREW', ''),
        fc.oneof(
          fc.constantFrom('/message?id=1', '/', '/assets/../..%2f', '//', '/%ff', '/stream?a=%'),
          fc.webPath(),
          text,
        ),
        fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/9'),
        fc.array(
          fc.oneof(
            fc.constantFrom(
              'Content-Type: application/json',
              'Content-Type: application/x-www-form-urlencoded',
              'Content-Encoding: br',
              'Content-Length: 7',
              'Transfer-Encoding: chunked',
              'Last-Event-ID: \u00ff',
              'Accept: /;q=x',
              'Origin: null',
              'If-None-Match: "',
            ),
            text,
          ),
          { maxLength: 5 },
        ),
        fc.oneof(fc.json(), text),
      )
      .map(([method, path, version, headers, body]) =>
        [`${method} ${path} ${version}`, 'Host: x', ...headers, '', body].join('\r\n'),
      );
    await fc.assert(
      fc.asyncProperty(requestText, async (bytes) => {
        expect(await statusOf(port, bytes)).not.toMatch(/^HTTP\/1\.1 5/);
      }),
      { numRuns: 1000 },
    );
    await request(open.url).get('/').expect(200);
    expect(log).not.toHaveBeenCalled();
    log.mockRestore();
  });
});

/** Sends raw bytes, says that there are no more, and returns the start of the first answer, if any. */
function statusOf(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connectSocket(port, '127.0.0.1');
    let answer = '';
    socket.once('data', (chunk) => {
      answer = chunk.toString('latin1');
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.once('close', () => resolve(answer));
    socket.end(bytes, 'latin1');
  });
}

describe('CORS', () => {
  test('by default any origin may read, without credentials', async () => {
    const client = await connect(`${open.url}/stream`, { Origin: 'https://any.example' });
    expect(client.response.headers['access-control-allow-origin']).toBe('*');
    expect(client.response.headers['access-control-allow-credentials']).toBeUndefined();
    client.abort();
  });

  test.each(['https://app.example', 'https://admin.example:8443'])(
    'a listed origin is reflected, with credentials and Vary: %s',
    async (origin) => {
      const client = await connect(`${listed.url}/stream`, { Origin: origin });
      expect(client.response.headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-credentials': 'true',
        vary: expect.stringContaining('Origin'),
      });
      client.abort();
    },
  );

  test.each(['https://app.example.evil.example', 'http://app.example', 'null'])(
    'an origin that is not listed is given nothing: %s',
    async (origin) => {
      const response = await request(listed.url).get('/nothing').set('Origin', origin);
      expect(response.headers['access-control-allow-origin']).toBeUndefined();
      expect(response.headers['access-control-allow-credentials']).toBeUndefined();
      expect(response.headers.vary).toContain('Origin');
    },
  );

  test.each([
    ['get', '/nothing', 404],
    ['delete', '/stream', 405],
    ['post', '/message', 400],
  ] as const)('a page may read why it failed: %s %s', async (method, path, status) => {
    const everybody = await request(open.url)[method](path).set('Origin', 'https://any.example');
    expect(everybody.status).toBe(status);
    expect(everybody.headers['access-control-allow-origin']).toBe('*');
    const some = await request(listed.url)[method](path).set('Origin', 'https://app.example');
    expect(some.headers).toMatchObject({
      'access-control-allow-origin': 'https://app.example',
      'access-control-allow-credentials': 'true',
    });
  });

  test('preflights allow Last-Event-ID, Authorization, Content-Type and Cache-Control', async () => {
    for (const [service, origin, allowed] of [
      [open, 'https://any.example', '*'],
      [listed, 'https://app.example', 'https://app.example'],
    ] as const) {
      for (const path of ['/stream', '/message', '/nothing']) {
        const response = await request(service.url)
          .options(path)
          .set({ Origin: origin, 'Access-Control-Request-Method': 'GET' });
        expect(response.status).toBe(204);
        expect(response.headers['access-control-allow-origin']).toBe(allowed);
        const headers = response.headers['access-control-allow-headers']?.split(',');
        expect(headers).toEqual(
          expect.arrayContaining([
            'Last-Event-ID',
            'Authorization',
            'Content-Type',
            'Cache-Control',
            'Idempotency-Key',
          ]),
        );
      }
    }
  });
});

describe('the page', () => {
  test('is served at / under a strict Content-Security-Policy', async () => {
    const response = await request(open.url).get('/');
    expect(response.status).toBe(200);
    expect(response.type).toBe('text/html');
    const policy = response.headers['content-security-policy'];
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|data:/);
    expect(response.headers['x-content-type-options']).toBe('nosniff');
  });

  test('is asked for anew each time, and then answered 304', async () => {
    const first = await request(open.url).get('/');
    expect(first.headers['cache-control']).toBe('no-cache');
    const second = await request(open.url)
      .get('/')
      .set('If-None-Match', first.headers.etag as string);
    expect(second.status).toBe(304);
    expect(second.text).toBe('');
  });

  test('its assets, named by their content, are kept for ever', async () => {
    const { text } = await request(open.url).get('/');
    const assets = text.match(/\/assets\/[^"]+/g) ?? [];
    expect(assets.length).toBeGreaterThan(1);
    for (const asset of assets) {
      const response = await request(open.url).get(asset);
      expect(response.status).toBe(200);
      expect(response.headers['cache-control']).toBe('public, max-age=31536000, immutable');
      expect(response.type).toBe(
        { css: 'text/css', js: 'text/javascript', svg: 'image/svg+xml' }[
          asset.split('.').at(-1) ?? ''
        ],
      );
    }
  });

  test.each(['/assets/none.js', '/assets/..%2f..%2fpackage.json', '/index.htm'])(
    'nothing else is served: %s',
    async (path) => {
      expect((await request(open.url).get(path)).status).toBe(404);
    },
  );
});
