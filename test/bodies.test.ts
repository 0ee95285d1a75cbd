import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import type { Service } from '../src/service.js';
import { type RawClient, rawConnect, statusesOf } from './support/raw-client.js';
import { killPrograms, type Program, runProgram } from './support/run-program.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const MEGABYTE = 1024 * 1024;
const SETTINGS = { JOURNAL: 'memory:', JWT_KEY };

let service: Service;
let token: string;
const clients: RawClient[] = [];

beforeAll(async () => {
  token = await tokenFor();
  service = await startTestService();
});

afterAll(() => Promise.all([service.stop(), killPrograms()]));

afterEach(() => {
  for (const { socket } of clients.splice(0)) socket.destroy();
});

async function open(url = service.url): Promise<RawClient> {
  const client = await rawConnect(url);
  clients.push(client);
  return client;
}

/** The head of a publish; its body follows. */
function head(fields: Record<string, string | number> = {}, path = '/hub'): string {
  const all = {
    Host: 'x',
    Authorization: `Bearer ${token}`,
    'Content-Type': 'application/x-www-form-urlencoded',
    ...fields,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return `POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}

function post(body: string | Buffer, type = 'application/x-www-form-urlencoded', url?: string) {
  return request(url ?? service.url)
    .post('/hub')
    .set({ Authorization: `Bearer ${token}`, 'Content-Type': type })
    .serialize((each) => each)
    .send(body as string);
}

describe('the time of a body', () => {
  test('is bounded: one that trickles is answered 408, and its connection is closed', async () => {
    const slow = await startTestService({ BODY_TIMEOUT_MS: '300' });
    try {
      const trickling = await open(slow.url);
      trickling.send(head({ 'Content-Length': 1000 })).send('topic=a');
      const drop = setInterval(() => trickling.send('x'), 50);
      const { text } = await trickling.closed;
      clearInterval(drop);
      expect(statusesOf(text)).toEqual([408]);
      expect(text).toMatch(/\r\nConnection: close\r\n/);
      expect(text).toContain('application/problem+json');
      expect(text).toContain('BODY_TIMEOUT_MS');
    } finally {
      await slow.stop();
    }
  });

  test.each([
    ['with chunks', 'Transfer-Encoding', 'chunked', '5\r\ntopic\r\n'],
    ['shorter than its Content-Length', 'Content-Length', '10', 'topic'],
    ['that nobody sends after Expect: 100-continue', 'Expect', '100-continue', ''],
  ])('is bounded for one %s', async (_, name, value, bytes) => {
    const slow = await startTestService({ BODY_TIMEOUT_MS: '300' });
    try {
      const client = await open(slow.url);
      client.send(
        head({ 'Content-Length': 10, [name]: value }).replace(
          name === 'Transfer-Encoding' ? 'Content-Length: 10\r\n' : '',
          '',
        ),
      );
      client.send(bytes);
      expect(statusesOf((await client.closed).text).at(-1)).toBe(408);
    } finally {
      await slow.stop();
    }
  });

  test('that was answered 408 publishes nothing, even if its end comes', async () => {
    const slow = await startTestService({ BODY_TIMEOUT_MS: '300' });
    try {
      const client = await open(slow.url);
      client.send(head({ 'Content-Length': 14 })).send('topic=late&da');
      await client.received(/ 408 /);
      client.send('t');
      await client.closed;
      const reader = await connect(`${slow.url}/hub?topic=late&lastEventID=earliest`);
      await post('topic=late&data=next', undefined, slow.url).expect(200);
      expect((await reader.next()).data).toBe('next');
      reader.abort();
    } finally {
      await slow.stop();
    }
  });
});

describe('the memory of all bodies', () => {
  test('is bounded by MAX_BODIES_BYTES: beyond it 503 with Retry-After, which names the limit; then there is room again', async () => {
    const small = await startTestService({ MAX_BODIES_BYTES: '2097152' });
    try {
      const unfinished = await Promise.all(Array.from({ length: 6 }, () => open(small.url)));
      for (const client of unfinished) {
        client.send(head({ 'Content-Length': MEGABYTE })).send('x'.repeat(MEGABYTE - 10));
      }
      const refused = await Promise.race(unfinished.map((client) => client.received(/\}$/)));
      expect(refused).toMatch(/^HTTP\/1\.1 503 /);
      expect(refused).toMatch(/\r\nRetry-After: \d+\r\n/);
      expect(refused).toMatch(/\r\nConnection: close\r\n/);
      expect(refused).toContain('MAX_BODIES_BYTES');
      for (const { socket } of unfinished) socket.destroy();
      let status = 503;
      while (status === 503) ({ status } = await post('topic=a', undefined, small.url));
      expect(status).toBe(200);
    } finally {
      await small.stop();
    }
  });

  test('has a part for the chat, so that strangers leave room for publishers', async () => {
    const small = await startTestService({ MAX_BODIES_BYTES: '2097152' });
    const unfinished = await Promise.all(Array.from({ length: 20 }, () => open(small.url)));
    try {
      for (const client of unfinished) {
        client.send(head({ 'Content-Length': 40_000 }, '/message?id=1')).send('x'.repeat(39_990));
      }
      await Promise.race(unfinished.map((client) => client.received(/ 503 /)));
      await post(`topic=a&data=${'x'.repeat(MEGABYTE - 100)}`, undefined, small.url).expect(200);
    } finally {
      // A service that stops waits for requests under way.
      for (const { socket } of unfinished) socket.destroy();
      await small.stop();
    }
  });

  test('holds 500 unfinished posts of 1 MB within 64 MiB', async () => {
    const program = await runProgram('dist/main.js', { env: SETTINGS });
    const before = rssOf(program);
    const sockets = await Promise.all(Array.from({ length: 500 }, () => open(program.url)));
    const body = Buffer.alloc(MEGABYTE - 1, 'x');
    await Promise.all(
      sockets.map(async (client) => {
        client.send(head({ 'Content-Length': MEGABYTE }));
        client.socket.write(body);
        // It is taken to its last byte but one, or refused.
        await Promise.race([
          client.closed,
          client.received(/ 503 /),
          client.socket.writableLength === 0 ? undefined : once(client.socket, 'drain'),
        ]);
      }),
    );
    await request(program.url).head('/').expect(200);
    expect(rssOf(program) - before).toBeLessThan(250 * MEGABYTE);
  });

  test('is not more for a body in chunks of one byte', async () => {
    const program = await runProgram('dist/main.js', { env: SETTINGS });
    await post('topic=a', undefined, program.url).expect(200);
    const before = rssOf(program);
    const client = await open(program.url);
    client.send(head({ 'Transfer-Encoding': 'chunked' }));
    client.send('1\r\nx\r\n'.repeat(1_000_000));
    await once(client.socket, 'drain');
    await request(program.url).head('/').expect(200);
    expect(rssOf(program) - before).toBeLessThan(120 * MEGABYTE);
  });
});

describe('the size of a body', () => {
  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotli],
  ])('is that after decompression: 100 MB of zeros in %s are 413', async (encoding, compress) => {
    const bomb = compress(Buffer.alloc(100 * MEGABYTE));
    expect(bomb.length).toBeLessThan(MEGABYTE);
    const response = await post(bomb).set('Content-Encoding', encoding);
    expect(response.status).toBe(413);
    expect(response.body.detail).toBe('The body is larger than the 1048576 bytes allowed.');
  });

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotli],
  ])('may come compressed: %s', async (encoding, compress) => {
    await post(compress('topic=a&data=x')).set('Content-Encoding', encoding).expect(200);
  });

  test.each(['gzip, gzip', 'br, gzip', 'zstd', 'toString'])(
    'is not looked for under Content-Encoding: %s, which is 415 and told what is allowed',
    async (encoding) => {
      const response = await post(gzipSync(gzipSync('topic=a'))).set('Content-Encoding', encoding);
      expect(response.status).toBe(415);
      expect(response.headers['accept-encoding']).toBe('gzip, deflate, br');
      expect(response.body.detail).toContain('gzip, deflate, br');
    },
  );

  test('is 40 KiB in the chat, enough for the longest message', async () => {
    const longest = `message=${encodeURIComponent('€'.repeat(4000))}`;
    const chat = (body: string) =>
      request(service.url).post('/message?id=1').type('form').send(body);
    await chat(longest).expect(200);
    expect((await chat(`message=${'x'.repeat(41_000)}`)).status).toBe(413);
  });

  test('at the maximum of MAX_BODY_BYTES works: a body, a bomb, and what grows most in memory', async () => {
    const maximum = 16 * MEGABYTE;
    const program = await runProgram('dist/main.js', {
      env: { ...SETTINGS, MAX_BODY_BYTES: String(maximum) },
    });
    const fill = (start: string, piece: string, end = '') =>
      start + piece.repeat(Math.floor((maximum - start.length - end.length) / piece.length)) + end;
    const send = async (body: string | Buffer, type: string, encoding = 'identity') =>
      (await post(body, type, program.url).set('Content-Encoding', encoding)).status;
    const FORM = 'application/x-www-form-urlencoded';
    expect(await send(fill('topic=a&data=', 'x'), FORM)).toBe(200);
    expect(await send(gzipSync(fill('topic=a&data=', 'x')), FORM, 'gzip')).toBe(200);
    expect(await send(gzipSync(Buffer.alloc(600 * MEGABYTE)), FORM, 'gzip')).toBe(413);
    expect(await send(fill('topic=a&data=', '\n'), FORM)).toBe(400);
    expect(await send(fill('', 'a&'), FORM)).toBe(413);
    expect(await send(fill('{"topic":"a","data":[', '[],', '0]}'), 'application/json')).toBe(400);
    expect(await send(fill('{"topic":"a","data":', '['), 'application/json')).toBe(400);
    expect(await send(fill('', '\n'), 'application/x-ndjson')).toBe(413);
    await request(program.url).head('/').expect(200);
    expect(program.stderr()).toBe('');
  }, 40_000);

  test('over the maximum cannot be configured', async () => {
    await expect(
      runProgram('dist/main.js', { env: { ...SETTINGS, MAX_BODY_BYTES: String(2 ** 30) } }),
    ).rejects.toThrow(/MAX_BODY_BYTES must be a whole number from 1 to 16777216/);
  });
});

describe('an answer before the end of the body', () => {
  const publishHead = (fields: Record<string, string | number>, path?: string) => () =>
    head(fields, path);
  const LARGE = { 'Content-Length': 50 * MEGABYTE };

  test.each<[string, number, () => string]>([
    ['a body over the limit', 413, publishHead(LARGE)],
    ['chunks over the limit', 413, publishHead({ 'Transfer-Encoding': 'chunked' })],
    ['a missing token', 401, publishHead({ ...LARGE, Authorization: '' })],
    ['a bad token', 401, publishHead({ ...LARGE, Authorization: 'Bearer x' })],
    ['another type', 415, publishHead({ ...LARGE, 'Content-Type': 'text/plain' })],
    ['another encoding', 415, publishHead({ ...LARGE, 'Content-Encoding': 'zstd' })],
    [
      'an encoding that is not true',
      400,
      publishHead({ 'Transfer-Encoding': 'chunked', 'Content-Encoding': 'gzip' }),
    ],
    ['another method', 405, () => head(LARGE).replace('POST', 'PUT')],
    ['another path', 404, publishHead(LARGE, '/nothing')],
    ['the chat', 413, publishHead(LARGE, '/message?id=1')],
    ['another expectation', 417, publishHead({ ...LARGE, Expect: 'wonders' })],
    ['a HEAD with a body', 200, () => head(LARGE, '/').replace('POST', 'HEAD')],
    ['a GET with a body', 200, () => head(LARGE, '/').replace('POST', 'GET')],
  ])(
    'can be read while the client sends, and says Connection: close: %s',
    async (_, status, start) => {
      const client = await open();
      const bytes = start();
      const isChunked = bytes.includes('chunked');
      client.send(bytes);
      // All is written before anything is read: a reset would take the answer away.
      client.socket.pause();
      const piece = isChunked ? `10000\r\n${'x'.repeat(65_536)}\r\n` : 'x'.repeat(65_536);
      for (let sent = 0; sent < 50; sent += 1) {
        if (!client.socket.write(piece)) await once(client.socket, 'drain');
      }
      client.socket.resume();
      const { text, error } = await client.closed;
      expect(error).toBeUndefined();
      expect(statusesOf(text)).toEqual([status]);
      expect(text).toMatch(/\r\nConnection: close\r\n/);
      await post('topic=a').expect(200);
    },
  );

  test('closes the connection of a client that goes on sending', async () => {
    const client = await open();
    client.send(head(LARGE));
    const drip = setInterval(() => client.send('x'), 20);
    await client.gone;
    clearInterval(drip);
    expect(statusesOf(client.text())).toEqual([413]);
  });

  test('of a body that has arrived whole leaves the connection for the next request, or says that it does not', async () => {
    const client = await open();
    const large = 'x'.repeat(200_000);
    client.send(head({ 'Content-Length': large.length, Authorization: 'Bearer x' }) + large);
    await client.received(/ 401 .*\}$/s);
    if (/Connection: close/.test(client.text())) {
      await client.closed;
    } else {
      client.send(head({ 'Content-Length': 7 })).send('topic=a');
      await client.received(/ 200 /);
    }
  });

  test('comes instead of 100 Continue to a client that waits for it', async () => {
    const client = await open();
    client.send(head({ ...LARGE, Expect: '100-continue' }));
    expect(statusesOf((await client.closed).text)).toEqual([413]);
    const welcome = await open();
    welcome.send(head({ 'Content-Length': 7, Expect: '100-continue' }));
    await welcome.received(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    welcome.send('topic=a');
    await welcome.received(/ 200 /);
  });
});

describe('a body of 1 MB holds nobody else up', () => {
  let program: Program;

  beforeAll(async () => {
    program = await runProgram('dist/main.js', {
      env: SETTINGS,
      nodeArgs: ['--import', `data:text/javascript,${encodeURIComponent(REPORT_TURNS)}`],
    });
  });

  const fill = (start: string, piece: string, end = '') =>
    start + piece.repeat(Math.floor((MEGABYTE - start.length - end.length) / piece.length)) + end;
  const keys = (count: number) =>
    Array.from({ length: count }, (_, n) => `"${n.toString(36)}":1`).join();
  const FORM = 'application/x-www-form-urlencoded';
  const JSON_TYPE = 'application/json';
  const NDJSON = 'application/x-ndjson';

  test.each<[string, string, string, number]>([
    ['a form of 500,000 fields', FORM, fill('', 'a&'), 413],
    ['a form of 340,000 topics', FORM, fill('', 'topic=a&'), 413],
    ['a form of a million pluses', FORM, fill('topic=a&data=', '+'), 200],
    ['a form of percent signs', FORM, fill('topic=a&data=', '%'), 200],
    ['a form of percent-encoded bytes that are no UTF-8', FORM, fill('topic=a&data=', '%FF'), 200],
    ['a million line breaks', FORM, fill('topic=a&data=', '\n'), 400],
    ['line breaks in JSON', JSON_TYPE, fill('{"topic":"a","data":"', '\\r', '"}'), 400],
    ['blank lines', NDJSON, fill('', '\n'), 413],
    ['lines of a space', NDJSON, fill('', ' \n'), 413],
    ['one line of spaces', NDJSON, fill('', ' '), 400],
    ['10,000 small updates', NDJSON, '{"topic":"a","data":"x"}\n'.repeat(10_000), 200],
    [
      '20,000 topics of 800 updates',
      NDJSON,
      `{"topic":[${Array.from({ length: 25 }, (_, n) => `"${n}"`)}]}\n`.repeat(800),
      200,
    ],
    [
      '200,000 topics of 8,000 updates',
      NDJSON,
      `{"topic":[${Array.from({ length: 25 }, (_, n) => `"${n}"`)}]}\n`.repeat(8_000),
      413,
    ],
    ['400,000 updates', NDJSON, fill('', '{}\n'), 413],
    ['100,000 unknown keys', JSON_TYPE, `{"topic":"a",${keys(100_000)}}`, 400],
    ['100,000 keys in the data', JSON_TYPE, `{"topic":"a","data":{${keys(100_000)}}}`, 400],
    ['500,000 nested arrays', JSON_TYPE, fill('{"topic":"a","data":', '['), 400],
    ['340,000 empty arrays', JSON_TYPE, fill('{"topic":"a","data":[', '[],', '0]}'), 400],
    [
      '200,000 numbers with an exponent',
      JSON_TYPE,
      fill('{"topic":"a","data":[', '1e5,', '0]}'),
      200,
    ],
    ['500,000 numbers', JSON_TYPE, fill('{"topic":"a","data":[', '1,', '0]}'), 200],
    ['a number of a million digits', JSON_TYPE, fill('{"topic":"a","data":', '1', '}'), 400],
    ['a number of a million zeros', JSON_TYPE, fill('{"topic":"a","data":1.', '0', '}'), 200],
    [
      'small numbers of many digits',
      JSON_TYPE,
      fill('{"topic":"a","data":[', '0.1000000000000000000,', '0]}'),
      200,
    ],
    ['a string of quotes', JSON_TYPE, fill('{"topic":"a","data":"', '\\"', '"}'), 200],
    ['a string of backslashes', JSON_TYPE, fill('{"topic":"a","data":["', '\\\\', '"]}'), 200],
    ['a string that does not end', JSON_TYPE, fill('{"topic":"a","data":"', '\\"'), 400],
    ['a type of 1 MB', JSON_TYPE, fill('{"topic":"a","type":"', 'x', '"}'), 400],
    ['170,000 topics', JSON_TYPE, fill('{"topic":[', '"a",', '"a"]}'), 400],
  ])('%s', async (_, type, body, status) => {
    // The first of a kind also compiles what reads it.
    expect((await post(body, type, program.url)).status).toBe(status);
    await longestTurn(program);
    expect((await post(body, type, program.url)).status).toBe(status);
    expect(await longestTurn(program)).toBeLessThan(200); // 10 to 50 alone.
    expect(program.stderr()).toBe('');
  });

  test('that is no UTF-8 is refused', async () => {
    const response = await post(Buffer.alloc(MEGABYTE, 0xff));
    expect(response.status).toBe(400);
    expect(response.body.detail).toBe('The body is not valid UTF-8.');
  });
});

describe('numbers in data', () => {
  test.each([
    '1e400',
    '-1e999',
    '9007199254740993',
    '123456789012345678901234567890',
    '0.1000000000000000055511151231257827',
    '1e-400',
    '[1,{"a":[18446744073709551615]}]',
    '{"9007199254740993":9007199254740993}',
  ])('that would arrive as others are refused, in JSON and NDJSON: %s', async (data) => {
    const body = `{"topic":"a","data":${data}}`;
    for (const type of ['application/json', 'application/x-ndjson']) {
      const response = await post(body, type);
      expect(response.status).toBe(400);
      expect(response.body.detail).toMatch(/data: the number .* send data as a text\.$/);
    }
  });

  test.each([
    ['1', '1'],
    ['9007199254740992', '9007199254740992'],
    ['100000000000000000000000', '1e+23'],
    ['1.0', '1'],
    ['-0', '0'],
    ['0.000', '0'],
    ['1.50e2', '150'],
    ['5e-324', '5e-324'],
    ['1.7976931348623157e308', '1.7976931348623157e+308'],
    [
      '{"id":"9007199254740993","1e400":"\\"1e400"}',
      '{"id":"9007199254740993","1e400":"\\"1e400"}',
    ],
    ['"1e400"', '1e400'],
  ])('that keep their value arrive: %s', async (data, expected) => {
    const reader = await connect(`${service.url}/hub?topic=numbers`);
    await post(`{"topic":"numbers","data":${data}}`, 'application/json').expect(200);
    expect((await reader.next()).data).toBe(expected);
    reader.abort();
  });
});

describe('retry', () => {
  test.each(['86400001', '999999999999999'])(
    'of more than 24 hours is refused, in a form and in JSON: %s',
    async (retry) => {
      for (const response of [
        await post(`topic=a&retry=${retry}`),
        await post(`{"topic":"a","retry":${retry}}`, 'application/json'),
      ]) {
        expect(response.status).toBe(400);
        expect(response.body.detail).toBe(
          'retry is more than the 86400000 milliseconds (24 hours) allowed.',
        );
      }
    },
  );

  test('of 24 hours is taken', async () => {
    await post('topic=a&retry=86400000').expect(200);
  });
});

/**
 * Loaded into the program: prints on SIGUSR2 how many milliseconds of CPU the longest turn of its event loop has
 * taken since the last time. Not of the clock, since the machine that runs the tests is shared.
 */
const REPORT_TURNS = `
  let last = process.cpuUsage();
  let longest = 0;
  const turn = () => {
    const { user, system } = process.cpuUsage(last);
    longest = Math.max(longest, (user + system) / 1000);
    setTimeout(() => {
      last = process.cpuUsage();
      setImmediate(turn);
    }, 1).unref();
  };
  turn();
  process.on('SIGUSR2', () => {
    console.log('longest turn: ' + longest.toFixed());
    longest = 0;
  });
`;

async function longestTurn(program: Program): Promise<number> {
  program.clear();
  process.kill(program.pid, 'SIGUSR2');
  const [, milliseconds] = await program.printed(/longest turn: (\d+)/);
  return Number(milliseconds);
}

/** At a quality that is quick: what is unpacked is the same. */
function brotli(body: Buffer | string): Buffer {
  return brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 2 } });
}

function rssOf({ pid }: Program): number {
  const [, kilobytes] = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return Number(kilobytes) * 1024;
}

describe('publishers', () => {
  test('whose token grants no publishing are refused before their body is read', async () => {
    const token = await tokenFor({ subscribe: ['*'] });
    const client = await open(service.url);
    client.send(head({ 'Content-Length': MEGABYTE, Authorization: `Bearer ${token}` }));
    expect(await client.received(/\}$/)).toMatch(/^HTTP\/1\.1 403 [\s\S]*grants no publishing/);
    client.socket.destroy();
  });

  test('leave half of MAX_BODIES_BYTES to others', async () => {
    const small = await startTestService({ MAX_BODIES_BYTES: '4194304' });
    try {
      const unfinished = await Promise.all(Array.from({ length: 8 }, () => open(small.url)));
      for (const client of unfinished) {
        client.send(head({ 'Content-Length': MEGABYTE })).send('x'.repeat(MEGABYTE - 10));
      }
      await Promise.race(unfinished.map((client) => client.received(/ 503 /)));
      const other = await tokenFor({ publish: ['a'] });
      await post(`topic=a&data=${'x'.repeat(MEGABYTE - 100)}`, undefined, small.url)
        .set('Authorization', `Bearer ${other}`)
        .expect(200);
      for (const { socket } of unfinished) socket.destroy();
    } finally {
      await small.stop();
    }
  });

  test('are told how many topics a body may have, whichever of its updates have them', async () => {
    const line = (n: number) =>
      JSON.stringify({ topic: Array.from({ length: 100 }, (_, topic) => `${n}/${topic}`) });
    const body = (updates: number) => Array.from({ length: updates }, (_, n) => line(n)).join('\n');
    expect((await post(body(200), 'application/x-ndjson')).status).toBe(200);
    const { status, text } = await post(`${body(200)}\n{"topic":"a"}`, 'application/x-ndjson');
    expect(status).toBe(413);
    expect(JSON.parse(text).detail).toBe(
      'The updates of the body have more than the 20000 topics allowed together.',
    );
  });

  test('that send many large bodies at once keep nobody waiting', async () => {
    const other = await tokenFor({ publish: ['a'] });
    const lines = '{"topic":"x","data":""}\n'.repeat(9_000);
    const refused = Promise.all(
      Array.from({ length: 40 }, () =>
        post(lines, 'application/x-ndjson').set('Authorization', `Bearer ${other}`).expect(403),
      ),
    );
    let isOver = false;
    void refused.finally(() => {
      isOver = true;
    });
    let longest = 0;
    while (!isOver) {
      const started = performance.now();
      await fetch(service.url, { method: 'HEAD' });
      longest = Math.max(longest, performance.now() - started);
    }
    await refused;
    // One after the other would be seconds.
    expect(longest).toBeLessThan(1_000);
  });
});
