import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import {
  INSTALL_MS,
  type InstalledProject,
  installedProject,
} from './support/installed-project.js';
import { type Registry, startRegistry } from './support/registry.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const README = readFileSync('README.md', 'utf8');
const [SNIPPET = '', EMBEDDED = '', MOUNTED = ''] = [
  ...README.matchAll(/```js\n(import Koa .*?)```/gs),
].map(([, code = '']) => code);
const [STREAMS = ''] =
  /import Koa .*?(?=```)/s.exec(readFileSync('packages/koa-event-stream/README.md', 'utf8')) ?? [];

const STREAM_EXPORTS = [
  'Audience',
  'EventStream',
  'FrameError',
  'encodeComment',
  'encodeFrame',
  'eventStreams',
  'sse',
];

/** What each entry point exports. */
const EXPORTS = {
  'koa-event-stream': STREAM_EXPORTS,
  'koa-sse-hub': STREAM_EXPORTS,
  'koa-sse-hub/hub': [
    'Hub',
    'JournalError',
    'SelectorError',
    'UpdateError',
    'openJournal',
    'select',
  ],
  'koa-sse-hub/mercure': [
    'BodyBudget',
    'HUB_PATH',
    'Presence',
    'SUBSCRIPTIONS_PATH',
    'createAuthorizer',
    'mercure',
    'readKeys',
  ],
  'koa-sse-hub/journal': [
    'BEGINNING',
    'ENDING_MAX_AGE_MS',
    'JournalError',
    'KEY_MAX_AGE_MS',
    'MAX_ENDINGS_BYTES',
    'MAX_KEYS_BYTES',
    'comparePositions',
    'isPosition',
    'parsePosition',
  ],
  'koa-sse-hub/journal/contract': ['journalContract'],
};

/** An app that was made with koa-event-stream, to which the hub of koa-sse-hub is added. */
const MIXED = `
  import Koa from 'koa';
  import { Audience, sse } from 'koa-event-stream';
  import { Audience as OtherAudience } from 'koa-sse-hub';
  import { Hub, openJournal, select } from 'koa-sse-hub/hub';
  import { createAuthorizer, mercure, readKeys } from 'koa-sse-hub/mercure';

  const hub = await Hub.open(await openJournal('memory:'));
  await hub.publish([{ topics: ['news'], data: 'held' }]);
  const news = select(['news']);
  const start = await hub.locate('earliest', news);
  const authorizer = createAuthorizer({ keys: readKeys({ JWT_KEY: process.env.JWT_KEY }) });
  const app = new Koa();
  app.use(sse());
  app.use(mercure({ hub, authorizer, path: '/updates' }));
  app.use((ctx) => {
    if (ctx.path === '/hub') hub.subscribe(ctx.eventStream, news, { start });
    if (ctx.path === '/audiences') {
      const [first, second] = [new Audience(), new OtherAudience()];
      first.add(ctx.eventStream);
      second.add(ctx.eventStream);
      first.end();
      second.send({ data: 'sent after the end, in the same turn' });
    }
  });
  app.listen(process.env.PORT);
`;

let registry: Registry;
let project: InstalledProject;

beforeAll(async () => {
  registry = await startRegistry();
  const command = `npm install ${registry.tarballs['koa-sse-hub']} koa koa-event-stream`;
  project = await installedProject(command, registry, [
    ['snippet.js', SNIPPET],
    ['streams.js', STREAMS],
    ['embedded.js', EMBEDDED],
    ['mounted.js', MOUNTED],
    ['mixed.js', MIXED],
  ]);
}, INSTALL_MS);

afterEach(killPrograms);

afterAll(async () => {
  project.remove();
  await registry.close();
});

describe("the README's snippet, in a project that has installed the tarball", () => {
  test('has at most 15 lines, and is the same for both packages', () => {
    expect(SNIPPET.trim().split('\n').length).toBeLessThanOrEqual(15);
    expect(STREAMS).toBe(SNIPPET.replace("'koa-sse-hub'", "'koa-event-stream'"));
  });

  test.each(['snippet.js', 'streams.js'])('greets, then tells the time (%s)', async (file) => {
    const program = await runProgram(file, { cwd: project.folder });
    const client = await connect(program.url);
    expect(await client.next()).toMatchObject({ data: 'hello from stream' });
    const { event, data } = await client.next();
    expect(event).toBe('currentTime');
    expect(new Date(data).toUTCString()).toBe(data);
    client.abort();
  });

  test('that embeds the hub serves what was published, after a restart too', async () => {
    for (const [run, expected] of [['hello'], ['hello', 'hello']].entries()) {
      const program = await runProgram('embedded.js', { cwd: project.folder });
      const client = await connect(`${program.url}/?lastEventID=earliest`);
      expect((await client.take(run + 1)).map(({ data }) => data)).toEqual(expected);
      client.abort();
      await program.kill();
    }
  });

  test('that mounts the protocol takes an update and delivers it', async () => {
    const program = await runProgram('mounted.js', { cwd: project.folder, env: { JWT_KEY } });
    const client = await connect(`${program.url}/updates?topic=news`);
    const { status } = await request(program.url)
      .post('/updates')
      .type('form')
      .auth(await tokenFor(), { type: 'bearer' })
      .send({ topic: 'news', data: 'hello' });
    expect(status).toBe(200);
    expect((await client.next()).data).toBe('hello');
    client.abort();
  });
});

describe('the installed package', () => {
  test.each(Object.entries(EXPORTS))(
    '%s exports what its docs say, and nothing by accident, to import and to require()',
    async (name, exported) => {
      const say = (modules: string) => `console.log(Object.keys(${modules}('${name}')).join())`;
      writeFileSync(join(project.folder, 'required.cjs'), say('require'));
      writeFileSync(join(project.folder, 'imported.js'), say('await import'));
      for (const file of ['required.cjs', 'imported.js']) {
        const { output } = await project.run(`${process.execPath} --no-warnings ${file}`);
        // What `require` gives of an ES module says so.
        expect(output.trim().split(',').filter(isNotMarker).sort()).toEqual(exported);
      }
    },
  );

  test('serves by its command', async () => {
    const program = await runProgram('node_modules/.bin/koa-sse-hub', {
      cwd: project.folder,
      env: { JOURNAL: 'memory:' },
    });
    const client = await connect(`${program.url}/stream`);
    expect((await client.next()).data).toBe('hello from stream');
    client.abort();
  });

  test('has declaration maps that lead to its sources', () => {
    for (const name of ['index', 'hub/hub', 'sse/event-stream']) {
      const file = join(project.folder, 'node_modules/koa-sse-hub/dist', `${name}.d.ts.map`);
      const { sources } = JSON.parse(readFileSync(file, 'utf8'));
      expect(sources).toHaveLength(1);
      expect(existsSync(join(dirname(file), sources[0]))).toBe(true);
    }
  });
});

describe('an app with streams of koa-event-stream and the hub of koa-sse-hub', () => {
  const start = () => runProgram('mixed.js', { cwd: project.folder, env: { JWT_KEY } });

  test('subscribes them to the hub', async () => {
    const client = await connect(`${(await start()).url}/hub`);
    expect((await client.next()).data).toBe('held');
    client.abort();
  });

  test('serves the protocol below sse() as an event stream', async () => {
    const { url } = await start();
    const client = await connect(`${url}/updates?topic=news&lastEventID=earliest`);
    expect(client.response.headers['content-type']).toBe('text/event-stream; charset=utf-8');
    expect((await client.next()).data).toBe('held');
    client.abort();
  });

  test('has audiences of both that end a stream after all that was sent to it', async () => {
    const client = await connect(`${(await start()).url}/audiences`);
    expect((await client.next()).data).toBe('sent after the end, in the same turn');
    await client.ended;
  });
});

describe('docs/journal.md, in a project that has installed the package', () => {
  const JOURNAL = readFileSync('docs/journal.md', 'utf8');
  const [, CASES = ''] = JOURNAL.match(/```js\n(import \{ test \}.*?)```/s) ?? [];
  const [, COMMAND = ''] = JOURNAL.match(/^\$ (node --test .*)$/m) ?? [];

  const run = (cases: string) => {
    writeFileSync(join(project.folder, 'contract.test.js'), cases);
    const [program = '', ...args] = COMMAND.split(' ');
    const { status, stdout } = spawnSync(program, args, {
      cwd: project.folder,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    return { status, stdout };
  };

  test("the cases run with Node's own runner, and a journal passes them", () => {
    const { status, stdout } = run(CASES);
    expect(stdout).toMatch(/fail 0/);
    expect(stdout).toMatch(/pass [1-9]\d+/);
    expect(status).toBe(0);
  });

  test('a keeper that does not count as it says fails', () => {
    const { status, stdout } = run(CASES.replace('topic: 200', 'topic: 199'));
    expect(stdout).toMatch(/a limit in bytes/);
    expect(status).toBe(1);
  });
});

function isNotMarker(name: string): boolean {
  return name !== '__esModule' && name !== 'module.exports';
}
