import { execFile, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { edited, type GuideProject, guideProject, outputInGuide } from './support/guide.js';
import { killPrograms, type Program } from './support/run-program.js';
import { connect } from './support/sse-client.js';

let project: GuideProject;
let start: GuideProject['start'];
let example: GuideProject['example'];

beforeAll(() => {
  project = guideProject();
  ({ start, example } = project);
});

afterEach(killPrograms);
afterAll(() => project.remove());

describe('11. authentication', () => {
  test('is refused and granted as the commands show', async () => {
    const program = await start('11-login.mjs');
    await example(program, 'curl localhost:3000');
    await example(program, "curl -c cookies -X POST 'localhost:3000/login?user=ann'");
    await example(program, "curl -b cookies -X POST 'localhost:3000/?event=news&data=hello'");
    await example(
      program,
      "curl -b cookies -X POST -H 'Origin: https://evil.example' 'localhost:3000/?event=news&data=hello'",
    );
  });

  test('HEAD is refused as GET is; a cookie that nobody has signed is none', async () => {
    const { url } = await start('11-login.mjs');
    expect((await fetch(url, { method: 'HEAD' })).status).toBe(401);
    expect((await fetch(url, { headers: { Cookie: 'user=ann' } })).status).toBe(401);
    expect((await fetch(`${url}/login?user=a=b`, { method: 'POST' })).status).toBe(400);
    expect((await fetch(`${url}/login`, { method: 'POST' })).status).toBe(400);
  });

  test("the app's own page and those of listed origins may publish", async () => {
    const { url } = await start('11-login.mjs');
    const Cookie = await cookieOf(url, 'ann');
    const publishFrom = async (Origin: string) =>
      (await fetch(url, { method: 'POST', headers: { Cookie, Origin } })).status;
    expect(await publishFrom(url)).toBe(200);
    expect(await publishFrom('https://app.example')).toBe(200);
    expect(await publishFrom('https://app.example.evil.example')).toBe(403);
    expect(await publishFrom('null')).toBe(403);
  });

  test("logging out ends this user's streams, and nobody else's", async () => {
    const { url } = await start('11-login.mjs');
    const [ann, bob] = [await cookieOf(url, 'ann'), await cookieOf(url, 'bob')];
    const [hers, his] = [await connect(url, { Cookie: ann }), await connect(url, { Cookie: bob })];
    await Promise.all([hers.next(), his.next()]);
    await fetch(`${url}/logout`, { method: 'POST', headers: { Cookie: ann } });
    await hers.ended;
    await fetch(`${url}/?data=after`, { method: 'POST', headers: { Cookie: bob } });
    expect((await his.next()).data).toBe('after');
    his.abort();
  });

  async function cookieOf(url: string, user: string): Promise<string> {
    const { headers } = await fetch(`${url}/login?user=${user}`, { method: 'POST' });
    return headers
      .getSetCookie()
      .map((cookie) => cookie.split(';')[0])
      .join('; ');
  }
});

describe('12. testing', () => {
  const COMMAND = 'node --test board.test.mjs';

  /** What the tests of the guide say, without their times. */
  async function runTests(): Promise<string> {
    const run = promisify(execFile)(
      process.execPath,
      ['--test', '--test-reporter=spec', 'board.test.mjs'],
      { cwd: project.folder, env: { ...process.env, NODE_OPTIONS: '' } },
    );
    const { stdout } = await run.catch((error: { stdout: string }) => error);
    return stdout.trimEnd();
  }

  const untimed = (text: string) => text.replace(/[\d.]+ms/g, '1ms');

  test("the guide's tests pass", async () => {
    const expected = new RegExp(untimed(outputInGuide(COMMAND).source.replaceAll('\\.', '.')));
    expect(untimed(await runTests())).toMatch(expected);
  });

  test.each([
    ['receives', 'encodeFrame({ id, event, data })', "encodeFrame({ id, event, data: 'x' })"],
    ['missed', '.slice(seen + 1)', '.slice(seen)'],
    ['refused', 'ctx.throw(400, error.message)', 'ctx.body = error.message'],
    ['without a login', "ctx.throw(401, 'log in first')", "ctx.state.user = 'nobody'"],
    ['logging out', 'client.end()', "client.send({ data: 'bye' })"],
  ])('and find a mistake: %s', async (_, from, to) => {
    writeFileSync(join(project.folder, '12-board.mjs'), edited('12-board.mjs', [[from, to]]));
    expect(await runTests()).not.toMatch(/^ℹ fail 0$/m);
    writeFileSync(join(project.folder, '12-board.mjs'), edited('12-board.mjs', []));
  });

  test('12-main.mjs ends in order with a stream that is open', async () => {
    const program = await start('12-main.mjs');
    const { headers } = await fetch(`${program.url}/login?user=ann`, { method: 'POST' });
    const Cookie = headers
      .getSetCookie()
      .map((cookie) => cookie.split(';')[0])
      .join('; ');
    const client = await connect(program.url, { Cookie });
    await client.next();
    expect(await program.kill('SIGTERM')).toEqual({ code: 0, signal: null });
    await client.ended;
  });
});

describe('14. tokens', () => {
  const COMMAND = "curl -N 'localhost:3000/?prompt=why'";

  test('arrive as the command shows', async () => {
    await example(await start('14-tokens.mjs'), COMMAND);
  });

  test('are no longer made when the client has left, and nothing is reported', async () => {
    const program = await start('14-tokens.mjs', {
      edits: [
        ['for (const word of', 'try {\n  for (const word of'],
        ['yield word;\n  }\n', "yield word;\n  }\n} finally { console.log('closed'); }\n"],
        ['await delay(50', "await delay(word === 'I' ? 1e6 : 1"],
      ],
    });
    const client = await connect(`${program.url}/?prompt=why`);
    await client.next();
    client.abort();
    await program.printed(/closed/);
    expect(program.stderr()).toBe('');
  });
});

describe('15. errors', () => {
  const FAIL = "curl -N 'localhost:3000/?prompt=fail'";

  test('before the head are answered, and break the connection after it', async () => {
    const program = await start('15-errors.mjs');
    await example(program, "curl 'localhost:3000/?prompt='");
    await example(program, FAIL);
    expect(program.stderr()).toMatch('Error: the model is away');
  });

  test('a client is told of in a last event', async () => {
    const program = await start('15-told.mjs');
    const said = await project.shell(program, FAIL);
    expect(said).toMatch(/data: asked\n\nevent: failure\ndata: the answer is not complete\n\n$/);
    expect(program.stderr()).toMatch('Error: the model is away');
  });

  test('a client that leaves is no error', async () => {
    const program = await start('15-told.mjs');
    const client = await connect(`${program.url}/?prompt=why`);
    await client.next();
    client.abort();
    const other = await connect(`${program.url}/?prompt=fail`);
    await other.ended;
    expect(program.stderr().match(/Error/g)).toHaveLength(1); // Its own.
  });
});

describe("16. Koa's rules", () => {
  const COMMAND =
    "curl -s -i -N 'localhost:3000/?prompt=why' | grep -i -E '^(x-response-time|set-cookie|event)'";

  test('who hands the stream on leaves the head to those above', async () => {
    const program = await start('16-rules.mjs');
    const [said, expected] = [await project.shell(program, COMMAND), outputInGuide(COMMAND)];
    const timed = said.replaceAll('\r', '').replace(/\d+ms/, '1ms').trimEnd();
    expect(timed).toMatch(expected);
    await program.printed(/^\/ 200\n\/ ended \d+\n/);
  });

  test('a failure of what was handed on breaks the connection, and the app is told', async () => {
    const program = await start('16-rules.mjs', {
      edits: [['yield word;', "if (word === 'asked') throw new Error('away');\n    yield word;"]],
    });
    const client = await connect(`${program.url}/?prompt=why`);
    expect((await client.take(2)).map(({ data }) => data)).toEqual(['You', 'have']);
    await expect(client.ended).rejects.toThrow();
    await program.printed(/^\/ failed \d+$/m);
    expect(program.stderr()).toMatch('Error: away');
  });

  test('who goes on sending takes it from them', async () => {
    const program = await start('16-rules.mjs', {
      edits: [
        ['app.use(({ eventStream', 'app.use(async ({ eventStream'],
        ['  answer(stream, query.prompt)', '  await answer(stream, query.prompt)'],
      ],
    });
    const said = await project.shell(program, COMMAND);
    expect(said).not.toMatch(/x-response-time|set-cookie/i);
    await program.printed(/ERR_HTTP_HEADERS_SENT/);
  });
});

describe('17. jobs', () => {
  test('are watched, and answered 204 by those who have seen the end', async () => {
    const program = await start('17-jobs.mjs');
    const url = await startJob(program);
    const [one, other] = [await connect(url), await connect(url)];
    for (const client of [one, other]) {
      const ids: number[] = [];
      for (let event: string | undefined; event !== 'done'; ) {
        const next = await client.next();
        ids.push(Number(next.id));
        event = next.event;
      }
      // Which step is the first that it sees depends on when it comes.
      expect(ids).toEqual([1, 2, 3, 4, 5, 6, 7].slice(-ids.length));
      await client.ended;
    }
    expect((await fetch(url, { headers: { 'Last-Event-ID': '7' } })).status).toBe(204);
    const late = await connect(url);
    expect(await late.next()).toMatchObject({ id: '7', event: 'done' });
    await late.ended;
    expect((await fetch(`${program.url}/none`)).status).toBe(404);
  });

  test('go as the commands show', async () => {
    const program = await start('17-jobs.mjs');
    const job =
      "JOB=$(curl -s -i -X POST localhost:3000 | sed -n 's/^Location: \\(.*\\)\\r/\\1/p')";
    const watched = await project.shell(program, job, 'curl -N localhost:3000$JOB');
    // Which step is the first that it sees depends on when it comes.
    expect(watched).toMatch(/^id: (\d)\nevent: progress\ndata: {"done":\d+}\n\n(?:id: |$)/);
    expect(watched).toMatch(/\nid: 7\nevent: done\ndata: {}\n\n$/);
    const again = "curl -N -i -H 'Last-Event-ID: 7' localhost:3000$JOB";
    const all = await project.shell(program, job, 'curl -N localhost:3000$JOB', again);
    expect(
      all
        .replace(/^.*?(?=HTTP)/s, '')
        .replaceAll('\r', '')
        .trimEnd(),
    ).toMatch(outputInGuide(again));
  });

  test('go on while one page watches or is reloaded', async () => {
    const program = await start('17-jobs.mjs', { edits: [['GRACE_MS = 2_000', 'GRACE_MS = 25']] });
    const url = await startJob(program);
    const [left, stays] = [await connect(url), await connect(url)];
    left.abort();
    for (;;) {
      const { event } = await stays.next();
      expect(event).not.toBe('cancelled');
      if (event === 'done') break;
    }
  });

  test('are cancelled when the last page stays away', async () => {
    const program = await start('17-jobs.mjs', {
      edits: [
        ['GRACE_MS = 2_000', 'GRACE_MS = 20'],
        ['await delay(50,', 'await delay(1e6,'],
        ['.catch((error) => tell(', '.catch((error) => console.log(error.name) ?? tell('],
      ],
    });
    const url = await startJob(program);
    const client = await connect(url);
    await client.next();
    client.abort();
    await program.printed(/AbortError/);
    const late = await connect(url);
    expect((await late.next()).event).toBe('cancelled');
    await late.ended;
  });

  async function startJob({ url }: Program): Promise<string> {
    const { headers } = await fetch(url, { method: 'POST' });
    return `${url}${headers.get('Location')}`;
  }
});

describe('18. topics that end', () => {
  const WORDS = ['You', 'have', 'asked', 'why', 'and', 'I', 'say', ''];

  async function generation(program: Program, prompt = 'why'): Promise<string> {
    const { headers } = await fetch(`${program.url}/?prompt=${prompt}`, { method: 'POST' });
    return headers.get('Location') ?? '';
  }

  test('go as the commands show', async () => {
    const program = await start('18-generation.mjs');
    const post =
      "TOPIC=$(curl -s -i -X POST 'localhost:3000/?prompt=why' | sed -n 's/^Location: \\(.*\\)\\r/\\1/p')";
    const get = 'curl -N localhost:3000$TOPIC';
    const said = await project.shell(program, post, get);
    const expected = outputInGuide(get).source.replace(/\d{13}-\d+/g, '\\d{13}-\\d+');
    expect(said.trimEnd()).toMatch(new RegExp(expected));
  });

  test('a client that comes back, and two at a time, get each word once and in order', async () => {
    const program = await start('18-generation.mjs');
    const url = `${program.url}${await generation(program)}`;
    const [left, other] = [await connect(url), await connect(url)];
    const first = await left.take(3);
    left.abort();
    const back = await connect(url, { 'Last-Event-ID': first.at(-1)?.id ?? '' });
    const all = [...first, ...(await back.take(5))];
    expect(all.map(({ data }) => data)).toEqual(WORDS);
    expect(all.at(-1)?.event).toBe('end');
    expect((await other.take(8)).map(({ data }) => data)).toEqual(WORDS);
    await Promise.all([back.ended, other.ended]);
    const headers = { 'Last-Event-ID': all.at(-1)?.id ?? '' };
    expect((await fetch(url, { headers })).status).toBe(204);
    const late = await connect(url);
    expect((await late.take(8)).map(({ data }) => data)).toEqual(WORDS);
    await late.ended;
  });

  test('a failure is told, and not why', async () => {
    const program = await start('18-generation.mjs');
    const client = await connect(`${program.url}${await generation(program, 'fail')}`);
    expect((await client.take(4)).at(-1)).toMatchObject({ event: 'failure', data: '' });
    await client.ended;
    expect(program.stderr()).toMatch('Error: the model is away');
  });

  test('what a kill has left without an end has one after the next start', async () => {
    const edits = [['await delay(50)', "await delay(word === 'and' ? 1e6 : 1)"]] as const;
    const killed = await start('18-generation.mjs', { edits });
    const path = await generation(killed);
    const before = await (await connect(`${killed.url}${path}`)).take(4);
    await killed.kill();
    const program = await start('18-generation.mjs');
    const headers = { 'Last-Event-ID': before.at(-1)?.id ?? '' };
    const client = await connect(`${program.url}${path}`, headers);
    const { event, id = '' } = await client.next();
    expect(event).toBe('failure');
    await client.ended;
    const again = { 'Last-Event-ID': id };
    expect((await fetch(`${program.url}${path}`, { headers: again })).status).toBe(204);
  });
});

describe('19. events as types', () => {
  const compile = (file: string) =>
    spawnSync(
      join(process.cwd(), 'node_modules/.bin/tsc'),
      [
        ...'--noEmit --strict --module nodenext --target es2023 --types node --skipLibCheck'.split(
          ' ',
        ),
        '--ignoreConfig',
        file,
      ],
      { cwd: project.folder, encoding: 'utf8' },
    ).stdout;

  test('the example compiles, and another name or payload does not', () => {
    expect(compile('19-types.ts')).toBe('');
    const wrong = edited('19-types.ts', [
      ["event: 'token', data: 'Hello'", "event: 'tok', data: 'Hello'"],
    ]);
    writeFileSync(join(project.folder, 'wrong.ts'), wrong);
    expect(compile('wrong.ts')).toMatch(/error TS/);
  });
});
