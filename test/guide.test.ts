import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Agent, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { createParser } from 'eventsource-parser';
import { filesOf } from '../scripts/guide-files.js';
import {
  type Edit,
  edited,
  FILES,
  GUIDE,
  type GuideProject,
  guideProject,
  inGuide,
} from './support/guide.js';
import { killPrograms, type Program } from './support/run-program.js';

const STEPS = [...FILES.keys()].filter((name) => /^\d-/.test(name));

/** From this step on a claim holds; it is checked there and in the last step. */
const fromStep = (first: string) => [first, '9-library.mjs'];

const agent = new Agent({ keepAlive: true, maxSockets: 16 });
let project: GuideProject;
let folder: string;
let start: GuideProject['start'];
let shell: GuideProject['shell'];

beforeAll(() => {
  project = guideProject();
  ({ folder, start, shell } = project);
  // Looks ten times as often as the one of the guide, so that no test waits a second for it.
  writeFileSync(join(folder, 'watch.mjs'), edited('watch.mjs', [['1000', '100']]));
  writeFileSync(join(folder, 'count-encodings.mjs'), COUNT_ENCODINGS);
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await killPrograms();
});

afterAll(() => {
  agent.destroy();
  project.remove();
});

describe('the guide', () => {
  test('saves every file whole with the command at its top', () => {
    expect(GUIDE).toContain('npm run guide ');
    execFileSync('npm', ['run', '--silent', 'guide']);
    for (const [name, code] of FILES) expect(readFileSync(`dist/guide/${name}`, 'utf8')).toBe(code);
  });

  test.each([
    ['takes away a line that is not there', '-two'],
    ['stands between lines that are others', ' one\n+two\n four'],
    ['could be meant for several places', '-three'],
    ['takes nothing away and stands nowhere', '+four'],
    ['changes nothing', ' one'],
    ['has a line without a sign', ' one\n+two\nthree'],
  ])('a change that %s is a mistake in the guide', (_, hunk) => {
    const whole = '<!-- file: a.js -->\n```js\none\nthree\nthree\n```\n';
    const change = (text: string) =>
      `<!-- file: b.js, from a.js -->\n\`\`\`diff\n${text}\n\`\`\`\n`;
    expect(() => filesOf(whole + change(hunk))).toThrow('b.js');
    const good = filesOf(whole + change('-one\n+two\n three\n@@\n+four\n two'));
    expect(good.get('b.js')).toBe('four\ntwo\nthree\nthree\n');
    expect(good.get('a.js')).toBe('one\nthree\nthree\n');
  });

  test('shows of a step what changes from the one before it', () => {
    for (const name of STEPS.slice(1, -1)) {
      expect(GUIDE).toMatch(
        new RegExp(`<!-- file: ${name}, from ${Number.parseInt(name, 10) - 1}-`),
      );
    }
  });

  test('starts with twenty-odd lines, grows, and ends shorter on the package', () => {
    const lines = STEPS.map((name) => FILES.get(name)?.split('\n').length ?? 0);
    const own = lines.slice(0, -1);
    expect(STEPS.map((name) => Number.parseInt(name, 10))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(lines[0]).toBeLessThan(25);
    expect(own).toEqual(own.toSorted((a, b) => a - b));
    expect(lines.at(-1)).toBeLessThan((own.at(-1) ?? 0) * 0.7);
  });

  test('names only source files that exist, and all of src/sse', () => {
    for (const path of GUIDE.match(/src\/[\w/.-]+\.ts/g) ?? []) readFileSync(path);
    for (const [, name] of GUIDE.matchAll(/^\| `([\w-]+\.ts)`/gm)) readFileSync(`src/sse/${name}`);
    const unnamed = readdirSync('src/sse').filter((name) => !GUIDE.includes(`\`${name}\``));
    expect(unnamed).toEqual([]);
  });
});

describe('frames', () => {
  const FORGED = `curl -X POST 'localhost:3000/?event=news&data=hi%0A%0Aevent:%20admin%0Adata:%20log%20in%20again'`;
  const FORGED_NAME = `curl -X POST 'localhost:3000/?event=news%0Adata:%20forged&data=hi'`;

  test('step 1: a line break in data forges an event for every client', async () => {
    const program = await start('1-naive.mjs');
    const reader = await openAmongClients(program);
    await shell(program, FORGED);
    await reader.received('event: news\ndata: hi\n\nevent: admin\ndata: log in again\n\n');
  });

  test.each(fromStep('2-frames.mjs'))('%s: the same text arrives as data', async (name) => {
    const program = await start(name);
    const reader = await openAmongClients(program);
    await shell(program, FORGED);
    await reader.received(
      'event: news\ndata: hi\ndata: \ndata: event: admin\ndata: data: log in again\n\n',
    );
    expect(reader.text()).not.toMatch(/^event: admin/m);
  });

  test.each(fromStep('2-frames.mjs'))(
    '%s: a line break in event is refused, and nobody receives anything',
    async (name) => {
      const program = await start(name);
      const reader = await openAmongClients(program);
      expect(await shell(program, FORGED_NAME)).toMatch(/^event contains a line break/);
      expect((await post(program, { event: 'a\rb' })).status).toBe(400);
      await post(program, { event: 'news', data: 'the next' });
      await reader.received('data: the next\n\n');
      expect(reader.text()).not.toMatch('forged');
      expect(program.stderr()).toBe('');
    },
  );
});

describe('clients that leave', () => {
  const HEAD = 'curl -sI localhost:3000 > /dev/null';
  const EARLY = 'for i in 1 2 3; do curl -s -m 0.02 localhost:3000; done';
  const SED = `sed "s/client.on('close'/ctx.res.on('close'/" 3-leaving.mjs > 3-too-late.mjs`;

  test('step 1: one prints a stack trace and is never let go of; nor is HEAD', async () => {
    const program = await start('1-naive.mjs');
    const reader = await openAmongClients(program);
    reader.leave();
    await program.printed(/Error \[ERR_STREAM_PREMATURE_CLOSE\]: Premature close\n\s+at /);
    await shell(program, HEAD);
    expect((await post(program)).text).toBe('sent to 2\n');
  });

  test.each(fromStep('3-leaving.mjs'))(
    '%s: they are let go of without a word, also after HEAD and when they leave early',
    async (name) => {
      const program = await start(name);
      const [first, second] = await Promise.all([
        openAmongClients(program),
        openAmongClients(program),
      ]);
      first.leave();
      second.reset();
      await shell(program, HEAD);
      await shell(program, EARLY);
      await untilClients(program, 0);
      expect(program.stderr()).toBe('');
    },
  );

  test('step 3: with ctx.res in place of the body, early leavers stay for ever', async () => {
    execFileSync('sh', ['-c', inGuide(SED)], { cwd: folder });
    const program = await start('3-too-late.mjs');
    await shell(program, EARLY);
    await untilClients(program, 3);
  });

  test.each(['3-leaving.mjs', '9-library.mjs'])(
    '%s: other errors are still printed',
    async (name) => {
      const program = await start(name, {
        edits: [['await delay(50);', "throw new Error('a bug');"]],
      });
      expect((await open(program).head).statusCode).toBe(500);
      await program.printed(/Error: a bug\n\s+at /);
    },
  );
});

describe('the head', () => {
  const IDLE = 'curl -s -i -m 0.5 localhost:3000; echo "curl: $?"';

  test('step 3: a quiet stream sends no head, which comes with the first event', async () => {
    const program = await start('3-leaving.mjs');
    expect(await shell(program, IDLE)).toBe('curl: 28\n');
    const reader = open(program);
    await untilClients(program, 1);
    expect((await reader.head).statusCode).toBe(200);
  });

  test.each(fromStep('4-head.mjs'))(
    '%s: the head comes at once and says all it should',
    async (name) => {
      const program = await start(name);
      const output = await shell(program, IDLE);
      expect(output).toMatch(/^HTTP\/1.1 200 OK\r\n/);
      expect(output).toMatch('Content-Type: text/event-stream; charset=utf-8\r\n');
      expect(output).toMatch('Cache-Control: no-cache, no-transform\r\n');
      expect(output).toMatch('X-Accel-Buffering: no\r\n');
      expect(output).toMatch(/curl: 28\n$/);
    },
  );

  test.each(fromStep('4-head.mjs'))(
    '%s: HEAD has the same head, and 406 the reason',
    async (name) => {
      const program = await start(name);
      const head = await open(program, { method: 'HEAD' }).head;
      expect(head.statusCode).toBe(200);
      expect(head.headers['content-type']).toBe('text/event-stream; charset=utf-8');
      expect(head.headers['cache-control']).toBe('no-cache, no-transform');
      const refused = await shell(program, `curl -H 'Accept: text/html' localhost:3000`);
      expect(refused).toMatch('accept text/event-stream to read');
    },
  );
});

describe('what a client costs', () => {
  const WATCH = ['--import', './watch.mjs'];
  /** Lets a test publish 100 KB at a time. */
  const LARGE_URLS = '--max-http-header-size=200000';
  const LARGE = 'x'.repeat(100_000);

  test.each([
    ['1-naive.mjs', 5],
    ['4-head.mjs', 5],
    ['5-all.mjs', 1],
    ['9-library.mjs', 0],
  ])('%s: five clients take %i timers that hold the process', async (name, timers) => {
    const program = await start(name, { nodeArgs: WATCH });
    await Promise.all(Array.from({ length: 5 }, () => openAmongClients(program)));
    await untilClients(program, 5);
    program.clear();
    expect((await program.printed(/timers: (\d+)\n/))[1]).toBe(String(timers));
  });

  test.each([
    ['4-head.mjs', 3],
    ['5-all.mjs', 1],
    ['6-turn.mjs', 1],
    ['9-library.mjs', 1],
  ])('%s: a frame for three clients is encoded %i times', async (name, times) => {
    const program = await start(name, { nodeArgs: ['--import', './count-encodings.mjs'] });
    await Promise.all([
      openAmongClients(program),
      openAmongClients(program),
      openAmongClients(program),
    ]);
    await post(program, { data: 'counted' });
    await post(program, { data: 'the next' });
    await program.printed(/encoded the next/);
    expect(program.stderr().match(/encoded counted/g)).toHaveLength(times);
  });

  async function bufferedForOneWhoDoesNotRead(name: string): Promise<number> {
    const program = await start(name, { nodeArgs: [LARGE_URLS, ...WATCH] });
    const socket = await raw(program);
    socket.pause();
    const reader = open(program);
    let received = () => {};
    const parser = createParser({
      onEvent({ event }) {
        if (event === 'large') received();
      },
    });
    reader.head.then((response) => response.on('data', (text) => parser.feed(text)));
    await untilClients(program, 2);
    for (let sent = 0; sent < 400; sent += 1) {
      // Whoever reads misses nothing. It is waited for, or it would be a client that does not read, too.
      const arrived = new Promise<void>((resolve) => {
        received = resolve;
      });
      await Promise.all([post(program, { event: 'large', data: LARGE }), arrived]);
    }
    program.clear();
    return Number((await program.printed(/(\d+) MB in buffers/))[1]);
  }

  test('step 1: 40 MB for a client that does not read are kept in memory', async () => {
    expect(await bufferedForOneWhoDoesNotRead('1-naive.mjs')).toBeGreaterThan(25);
  });

  test.each(fromStep('5-all.mjs'))(
    '%s: a client that does not read takes no memory, and who reads misses nothing',
    async (name) => {
      expect(await bufferedForOneWhoDoesNotRead(name)).toBeLessThan(20);
    },
  );

  async function chunksOfFiftyEvents(name: string): Promise<number> {
    const program = await start(name);
    const socket = await raw(program);
    await untilClients(program, 1);
    let text = '';
    const all = new Promise<void>((resolve) => {
      socket.setEncoding('utf8').on('data', (more: string) => {
        text += more;
        if (text.includes('data: burst-49\n')) resolve();
      });
    });
    await raw(
      program,
      Array.from(
        { length: 50 },
        (_, n) => `POST /?data=burst-${n} HTTP/1.1\r\nHost: x\r\n\r\n`,
      ).join(''),
    );
    await all;
    expect(text.match(/^data: burst-/gm)).toHaveLength(50);
    return text.split(/^[0-9a-f]+\r$/m).filter((chunk) => chunk.includes('burst-')).length;
  }

  test('step 5: fifty events that arrive together are fifty writes', async () => {
    expect(await chunksOfFiftyEvents('5-all.mjs')).toBe(50);
  });

  test.each(fromStep('6-turn.mjs'))(
    '%s: fifty events that arrive together are a write or two',
    async (name) => {
      expect(await chunksOfFiftyEvents(name)).toBeLessThanOrEqual(5);
    },
  );

  test.each([
    ['1-naive.mjs', '15_000', '20'],
    ['5-all.mjs', '15_000', '20'],
    ['9-library.mjs', 'sse()', 'sse({ heartbeatMs: 20 })'],
  ])('%s: a quiet stream has heartbeats', async (name, from, to) => {
    const program = await start(name, { edits: [[from, to]] });
    const readers = [open(program), open(program)];
    await Promise.all(readers.map((reader) => reader.received(':\n\n')));
  });
});

describe('CORS', () => {
  const ORIGIN = { Origin: 'https://app.example' };

  test('step 6: still sends the pair that browsers refuse', async () => {
    const program = await start('6-turn.mjs');
    expect(await shell(program, 'curl -sI localhost:3000 | grep -i access-control')).toBe(
      'Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n',
    );
  });

  test.each(fromStep('7-cors.mjs'))(
    '%s: a listed origin is named, errors included, and no other is',
    async (name) => {
      const program = await start(name);
      const { headers } = await open(program, { headers: ORIGIN }).head;
      expect(headers['access-control-allow-origin']).toBe('https://app.example');
      expect(headers['access-control-allow-credentials']).toBe('true');
      expect(headers.vary).toBe('Origin');

      const output = await shell(
        program,
        `curl -s -i -H 'Accept: text/html' -H 'Origin: https://app.example' localhost:3000`,
      );
      expect(output).toMatch(/^HTTP\/1.1 406 Not Acceptable\r\n/);
      expect(output).toMatch('Access-Control-Allow-Origin: https://app.example\r\n');
      expect(output).toMatch('Access-Control-Allow-Credentials: true\r\n');
      expect(output).toMatch(/^vary: Origin\r$/im);

      const other = await open(program, { headers: { Origin: 'https://evil.example' } }).head;
      expect(Object.keys(other.headers).filter((key) => key.startsWith('access-control'))).toEqual(
        [],
      );
      expect(other.headers.vary).toBe('Origin');
    },
  );

  test.each(fromStep('7-cors.mjs'))('%s: the preflight of a reconnect is allowed', async (name) => {
    const program = await start(name);
    const { statusCode, headers } = await open(program, {
      method: 'OPTIONS',
      headers: {
        ...ORIGIN,
        'Access-Control-Request-Method': 'GET',
        'Access-Control-Request-Headers': 'last-event-id',
      },
    }).head;
    expect(statusCode).toBe(204);
    expect(headers['access-control-allow-origin']).toBe('https://app.example');
    expect(headers['access-control-allow-headers']).toBe('Last-Event-ID');
  });

  test('@koa/cors with "*" and credentials names whatever origin has asked', async () => {
    const program = await start('7-cors.mjs', {
      edits: [[/origin: \(ctx\).*/, "origin: '*',"]],
    });
    const { headers } = await open(program, { headers: { Origin: 'https://evil.example' } }).head;
    expect(headers['access-control-allow-origin']).toBe('https://evil.example');
    expect(headers['access-control-allow-credentials']).toBe('true');
  });
});

describe('ids', () => {
  test.each(fromStep('8-ids.mjs'))(
    '%s: a new client gets the newest id, and with it what it missed when it comes back',
    async (name) => {
      const program = await start(name);
      const reader = open(program);
      const [, id = ''] = await reader.received(/^id: (\d+-0)\n\n/);
      reader.leave();
      await untilClients(program, 0, 'missed');

      const back = open(program, { headers: { 'Last-Event-ID': id } });
      await back.received(/^id: \d+-1\nevent: missed\ndata: \n\n/);
      await post(program, { event: 'live' });
      await back.received(/\nid: \d+-\d+\nevent: live\n/);
      expect(numbers(back)).toEqual(numbers(back).map((_, index) => index + 1));
    },
  );

  test.each(fromStep('8-ids.mjs'))(
    '%s: an id that it does not know is answered with a gap',
    async (name) => {
      const program = await start(name);
      await post(program);
      const reader = open(program, { headers: { 'Last-Event-ID': 'of-another-time' } });
      await reader.received(/^id: \d+-1\nevent: gap\ndata: ?\n\n/);
    },
  );

  test.each(fromStep('8-ids.mjs'))('%s: the history is a hundred events', async (name) => {
    const program = await start(name);
    const reader = open(program);
    const [, epoch] = await reader.received(/^id: (\d+)-0\n/);
    await inParallel(101, () => post(program, { event: 'news' }));
    const [within, beyond] = ['1', '0'].map((sequence) =>
      open(program, { headers: { 'Last-Event-ID': `${epoch}-${sequence}` } }),
    );
    await within?.received(/^id: \d+-2\n.*\nid: \d+-101\n/s);
    await beyond?.received(/^id: \d+-101\nevent: gap\n/);
  });

  test.each(fromStep('8-ids.mjs'))(
    '%s: who joins while events are published gets each of them once and in order',
    async (name) => {
      const program = await start(name, { edits: [['await delay(50);', '']] });
      const [, epoch] = await open(program).received(/^id: (\d+)-0\n/);
      const readers: Reader[] = [];
      await inParallel(90, async (n) => {
        if (n % 3 === 0) {
          readers.push(open(program, { headers: { 'Last-Event-ID': `${epoch}-0` } }));
        }
        await post(program, { event: 'news', data: String(n) });
      });
      await Promise.all(readers.map((reader) => reader.received(/^id: \d+-90\n.*?\n\n/ms)));
      const expected = Array.from({ length: 90 }, (_, index) => index + 1);
      for (const reader of readers) expect(numbers(reader)).toEqual(expected);
    },
  );

  test.each(fromStep('8-ids.mjs'))(
    '%s: an event published in the very turn in which a client joins is not repeated',
    async (name) => {
      const program = await start(name, { edits: [['await delay(50);', '']] });
      const [, epoch] = await open(program).received(/^id: (\d+)-0\n/);
      const socket = await raw(
        program,
        `POST / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nLast-Event-ID: ${epoch}-0\r\n\r\n`,
      );
      let text = '';
      const second = new Promise<void>((resolve) => {
        socket.setEncoding('utf8').on('data', (more: string) => {
          text += more;
          if (text.includes(`id: ${epoch}-2\n`)) resolve();
        });
      });
      await untilClients(program, 2);
      await second;
      expect(text.match(/^id: .*-[12]$/gm)).toEqual([`id: ${epoch}-1`, `id: ${epoch}-2`]);
    },
  );

  test.each(fromStep('8-ids.mjs'))(
    '%s: a client that does not read is cut off, comes back and has missed nothing',
    async (name) => {
      const program = await start(name, { nodeArgs: ['--max-http-header-size=200000'] });
      const socket = await raw(program);
      await untilClients(program, 1);
      socket.pause();
      const data = 'x'.repeat(100_000);
      let published = 0;
      for (let answer = ''; answer !== 'sent to 0\n' && published < 1000; published += 1) {
        answer = (await post(program, { event: 'large', data })).text;
      }

      let text = '';
      socket.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      socket.resume();
      await once(socket, 'close');
      const whole = [...text.matchAll(/^id: (\S+)\nevent: large\ndata: x{100000}\n\n/gm)];
      const back = open(program, { headers: { 'Last-Event-ID': whole.at(-1)?.[1] ?? '' } });
      const [last] = (await post(program, { event: 'last' }).then(() =>
        back.received(/^id: \S+\nevent: last\n/m),
      )) as RegExpMatchArray;
      expect(last).toBeDefined();
      expect(back.text()).not.toMatch('event: gap');
      expect(whole.length + (back.text().match(/^event: large$/gm) ?? []).length).toBe(published);
      expect(program.stderr()).toBe('');
    },
  );
});

describe('stopping the last step', () => {
  const stopping = (body: string): Edit[] => [
    ['app.use(sse());', 'const events = sse({ heartbeatMs: 20 });\napp.use(events);'],
    ['app.listen(', 'const server = app.listen('],
    [/$/, `process.once('SIGTERM', () => { ${body}; console.log('closing'); });`],
  ];

  test('events.streams.end() ends every stream cleanly, so that close() completes', async () => {
    const program = await start('9-library.mjs', {
      edits: stopping('events.streams.end(); server.close()'),
    });
    const response = await open(program).head;
    const ended = once(response, 'end');
    expect(await program.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    await ended;
    expect(response.complete).toBe(true);
  });

  test('close() alone leaves streams open', async () => {
    const program = await start('9-library.mjs', { edits: stopping('server.close()') });
    const reader = await openAmongClients(program);
    void program.kill('SIGTERM');
    await program.printed(/closing/);
    const before = reader.text().length;
    await reader.received(new RegExp(`^.{${before}}(:\n\n){3}`, 's'));
  });
});

/** Prints the data of each frame that is turned from text into bytes, whoever does it. */
const COUNT_ENCODINGS = `
  const { from } = Buffer;
  Buffer.from = function (value, ...rest) {
    const data = typeof value === 'string' && value.match(/^(?:id|event|data): .*?^data: (\\w[ \\w]*)$/ms);
    if (data) console.error('encoded ' + data[1]);
    return from.call(this, value, ...rest);
  };
`;

interface Reader {
  /** Resolves when the head has come. */
  readonly head: Promise<IncomingMessage>;
  text(): string;
  received(pattern: string | RegExp): Promise<RegExpMatchArray>;
  leave(): void;
  /** Leaves as a process does that is killed with unread bytes. */
  reset(): void;
}

const sockets: Socket[] = [];

function open(
  program: Program,
  { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Reader {
  const client = request(program.url, { method, headers, agent: false }).end();
  let text = '';
  let look = () => {};
  const head = once(client, 'response').then(([response]: IncomingMessage[]) => {
    if (response === undefined) throw new Error('No response.');
    response.setEncoding('utf8').on('error', () => {});
    response.on('data', (more: string) => {
      text += more;
      look();
    });
    return response;
  });
  head.catch(() => {});
  client.on('error', () => {});
  client.once('socket', (socket) => sockets.push(socket));
  return {
    head,
    text: () => text,
    received: (pattern) =>
      new Promise((resolve) => {
        look = () => {
          const index = typeof pattern === 'string' ? text.indexOf(pattern) : -1;
          const match = typeof pattern === 'string' ? index >= 0 && [pattern] : text.match(pattern);
          if (!match) return;
          look = () => {};
          resolve(match as RegExpMatchArray);
        };
        look();
      }),
    leave: () => client.destroy(),
    reset: () => client.socket?.resetAndDestroy(),
  };
}

/** Opens a stream and resolves when it is among the clients. */
async function openAmongClients(program: Program): Promise<Reader> {
  const reader = open(program);
  const arrived = reader.received('event: arrival\n');
  // Steps 1 to 3 show no sign of it until an event is published.
  while (!(await isSettled(arrived))) await post(program, { event: 'arrival' });
  return reader;
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = new Promise((resolve) => setTimeout(resolve, 10, 'pending'));
  return (await Promise.race([promise, pending])) !== 'pending';
}

/** A stream's socket: the head included, nothing decoded. */
async function raw(
  program: Program,
  requests = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
): Promise<Socket> {
  const socket = connect(program.port, '127.0.0.1');
  sockets.push(socket);
  await once(socket, 'connect');
  socket.write(requests);
  return socket;
}

/** Publishes until it reaches this many clients. */
async function untilClients(program: Program, count: number, event = 'probe'): Promise<void> {
  while ((await post(program, { event })).text !== `sent to ${count}\n`);
}

function post(
  program: Program,
  query: { event?: string; data?: string } = {},
): Promise<{ status: number | undefined; text: string }> {
  return new Promise((resolve, reject) => {
    const url = `${program.url}/?${new URLSearchParams(query)}`;
    const publisher = request(url, { method: 'POST', agent }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (more: string) => {
        text += more;
      });
      response.on('end', () => resolve({ status: response.statusCode, text }));
    });
    publisher.on('error', reject).end();
  });
}

async function inParallel(count: number, run: (n: number) => Promise<unknown>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, n) => run(n)));
}

/** The sequence numbers of the ids that a client has received. */
function numbers(reader: Reader): number[] {
  return [...reader.text().matchAll(/^id: \d+-(\d+)$/gm)].map(([, sequence]) => Number(sequence));
}
