import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import request from 'supertest';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY } from './support/server.js';
import { connect } from './support/sse-client.js';
import { type TemporaryProject, temporaryProject } from './support/temporary-project.js';
import { tokenFor } from './support/tokens.js';

const README = readFileSync('README.md', 'utf8');
const [SNIPPET = '', EMBEDDED = '', MOUNTED = ''] = [
  ...README.matchAll(/```js\n(import Koa .*?)```/gs),
].map(([, code = '']) => code);

describe("the README's snippet, in a project that has installed the package", () => {
  let project: TemporaryProject;

  beforeAll(() => {
    project = temporaryProject([
      ['snippet.js', SNIPPET],
      ['snippet.ts', SNIPPET],
      ['embedded.js', EMBEDDED],
      ['embedded.ts', EMBEDDED],
      ['mounted.js', MOUNTED],
      ['mounted.ts', MOUNTED],
      ['wrong.ts', SNIPPET.replace("send({ data: 'hello from stream' })", 'send({ data: 1 })')],
    ]);
  });

  afterEach(killPrograms);
  afterAll(() => project.remove());

  /** What the compiler has to say of a file. */
  function compile(file: string): string {
    const options =
      '--noEmit --strict --module nodenext --target es2023 --types node --skipLibCheck';
    const { stdout } = spawnSync(
      join(process.cwd(), 'node_modules/.bin/tsc'),
      [...options.split(' '), '--ignoreConfig', file],
      { cwd: project.folder, encoding: 'utf8' },
    );
    return stdout;
  }

  test('has at most 15 lines', () => {
    expect(SNIPPET.trim().split('\n').length).toBeLessThanOrEqual(15);
  });

  test('greets, then tells the time', async () => {
    const program = await runProgram('snippet.js', { cwd: project.folder });
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

  test('compiles with the types of the package, which find a mistake', () => {
    expect(compile('snippet.ts')).toBe('');
    expect(compile('embedded.ts')).toBe('');
    expect(compile('mounted.ts')).toBe('');
    expect(compile('wrong.ts')).toMatch(/wrong\.ts.*'number' is not assignable to type 'string/s);
  });
});

describe('docs/journal.md, in a project that has installed the package', () => {
  const JOURNAL = readFileSync('docs/journal.md', 'utf8');
  const [, CASES = ''] = JOURNAL.match(/```js\n(import \{ test \}.*?)```/s) ?? [];
  const [, COMMAND = ''] = JOURNAL.match(/^\$ (node --test .*)$/m) ?? [];
  let project: TemporaryProject;

  beforeAll(() => {
    project = temporaryProject([
      ['contract.test.js', CASES],
      ['wrong.test.js', CASES.replace('topic: 200', 'topic: 199')],
    ]);
  });

  afterAll(() => project.remove());

  const run = (file: string) => {
    const [program = '', ...given] = COMMAND.split(' ');
    const { status, stdout } = spawnSync(program, [...given.slice(0, -1), file], {
      cwd: project.folder,
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    return { status, stdout };
  };

  test("the cases run with Node's own runner, and a journal passes them", () => {
    const { status, stdout } = run('contract.test.js');
    expect(stdout).toMatch(/fail 0/);
    expect(stdout).toMatch(/pass [1-9]\d+/);
    expect(status).toBe(0);
  });

  test('a keeper that does not count as it says fails', () => {
    const { status, stdout } = run('wrong.test.js');
    expect(stdout).toMatch(/a limit in bytes/);
    expect(status).toBe(1);
  });
});

describe('the package', () => {
  test('exports what the README says, and nothing by accident', async () => {
    const { name } = JSON.parse(readFileSync('package.json', 'utf8'));
    const exported = await import(join(process.cwd(), 'dist/index.js'));
    expect(name).toBe('koa-sse-hub');
    expect(Object.keys(exported).sort()).toEqual([
      'Audience',
      'EventStream',
      'FrameError',
      'encodeComment',
      'encodeFrame',
      'eventStreams',
      'sse',
    ]);
    expect(Object.keys(await import(join(process.cwd(), 'dist/hub/index.js'))).sort()).toEqual([
      'Hub',
      'JournalError',
      'SelectorError',
      'UpdateError',
      'openJournal',
      'select',
    ]);
    expect(Object.keys(await import(join(process.cwd(), 'dist/mercure/index.js'))).sort()).toEqual([
      'HUB_PATH',
      'Presence',
      'SUBSCRIPTIONS_PATH',
      'createAuthorizer',
      'mercure',
      'readKeys',
    ]);
    expect(Object.keys(await import(join(process.cwd(), 'dist/journal/index.js'))).sort()).toEqual([
      'BEGINNING',
      'ENDING_MAX_AGE_MS',
      'JournalError',
      'KEY_MAX_AGE_MS',
      'MAX_ENDINGS_BYTES',
      'MAX_KEYS_BYTES',
      'comparePositions',
      'isPosition',
      'parsePosition',
    ]);
    const contract = await import(join(process.cwd(), 'dist/journal/contract/index.js'));
    expect(Object.keys(contract)).toEqual(['journalContract']);
  });
});
