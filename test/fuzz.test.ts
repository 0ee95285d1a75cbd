import { afterAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import request from 'supertest';
import { rawConnect } from './support/raw-client.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { tokenFor } from './support/tokens.js';

/** A failure prints the seed; `SEED=…` runs it again. */
const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31);

afterAll(killPrograms);

test(`no request ends the service, is its error, or is logged as one (SEED=${seed})`, async () => {
  const token = await tokenFor();
  const program = await runProgram('dist/main.js', {
    env: {
      JOURNAL: 'memory:',
      JWT_KEY,
      SUBSCRIPTIONS: 'true',
      BODY_TIMEOUT_MS: '500',
      LOG_LEVEL: 'error', // Refusals are logged, as warnings.
    },
  });
  await fc.assert(
    fc.asyncProperty(connection(token), async ({ bytes, ending }) => {
      const client = await rawConnect(program.url);
      client.send(Buffer.from(bytes, 'latin1'));
      if (ending === 'end') client.socket.end();
      if (ending !== 'reset') await Promise.race([client.closed, client.received(/^HTTP/)]);
      client.socket.resetAndDestroy();
      expect(client.text()).not.toMatch(/HTTP\/1\.1 5/);
    }),
    { numRuns: 1_500, seed },
  );
  const asked = performance.now();
  await request(program.url).head('/').expect(200);
  expect(performance.now() - asked).toBeLessThan(2_000);
  expect(program.stderr()).toBe('');
}, 60_000);

/** What one client sends: a few requests, of which most are nearly right. */
function connection(token: string) {
  const text = fc.string({ unit: 'binary-ascii', maxLength: 80 });
  const path = fc.oneof(
    fc.constantFrom('/hub', '/hub?topic=a', '/hub?topic=*&lastEventID=earliest', '/hub?topic={a'),
    fc.constantFrom('/message?id=1', '/messages', '/stream', '/', '/assets/..%2f', '/%ff', '*'),
    fc.constantFrom('/hub/subscriptions', '/hub/subscriptions/%', '/.well-known/mercure?topic=a'),
    fc.webPath(),
    text,
  );
  const header = fc.oneof(
    fc.constantFrom(
      `Authorization: Bearer ${token}`,
      'Content-Type: application/json',
      'Content-Type: application/x-www-form-urlencoded',
      'Content-Type: application/x-ndjson',
      'Content-Encoding: gzip',
      'Content-Encoding: br',
      'Content-Length: 20',
      'Content-Length: 99999999999999',
      'Transfer-Encoding: chunked',
      'Expect: 100-continue',
      'Expect: x',
      'Connection: close',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Last-Event-ID: \u00ff',
      'Idempotency-Key: a',
      'Cookie: mercureAuthorization=x',
      'Origin: null',
      'Accept: /;q=x',
      'Accept-Encoding: gzip',
    ),
    text,
  );
  const body = fc.oneof(
    fc.json(),
    text,
    fc.constantFrom('topic=a&data=b', '{"topic":"a","data":1e400}', '{"topic":["a"]}\n\n{}', '\0'),
    fc.constantFrom('5\r\ntopic\r\n0\r\n\r\n', 'ffffffffffffffff\r\n', '0\r\n\r\n'),
  );
  const single = fc
    .tuple(
      fc.oneof(
        { arbitrary: fc.constantFrom('GET', 'POST'), weight: 6 },
        { arbitrary: fc.constantFrom('HEAD', 'OPTIONS', 'PUT', 'CONNECT', 'PRI', ''), weight: 1 },
      ),
      path,
      fc.oneof(
        { arbitrary: fc.constant('HTTP/1.1'), weight: 8 },
        { arbitrary: fc.constantFrom('HTTP/1.0', 'HTTP/0.9', 'HTTP/2.0'), weight: 1 },
      ),
      fc.array(header, { maxLength: 6 }),
      body,
      fc.boolean(),
    )
    .map(([method, target, version, headers, content, isMeasured]) =>
      [
        `${method} ${target} ${version}`,
        'Host: x',
        ...headers,
        ...(isMeasured ? [`Content-Length: ${Buffer.byteLength(content, 'latin1')}`] : []),
        '',
        content,
      ].join('\r\n'),
    );
  return fc.record({
    bytes: fc.array(single, { minLength: 1, maxLength: 4 }).map((all) => all.join('')),
    ending: fc.constantFrom('stay', 'end', 'reset'),
  });
}
