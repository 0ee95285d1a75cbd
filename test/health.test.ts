import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import Koa from 'koa';
import { health } from '../src/http/health.js';
import { problems } from '../src/requests/problem.js';
import { type EarlyExit, killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY, serve, startTestService, type TestServer } from './support/server.js';

const servers: TestServer[] = [];
afterEach(async () => {
  await killPrograms();
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

/** Serves the health of a journal that answers as the test has it. */
async function serveHealthOf(ping: () => Promise<void>): Promise<string> {
  const app = new Koa();
  app.silent = true;
  const server = await serve(app.use(problems()).use(health(ping)));
  servers.push(server);
  return server.url;
}

describe('GET /health', () => {
  test('is 200 while updates can be published, to be asked again each time', async () => {
    const service = await startTestService();
    const answer = await fetch(`${service.url}/health`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toEqual({ status: 'ok' });
    expect((await fetch(`${service.url}/health`, { method: 'HEAD' })).status).toBe(200);
    await service.stop();
  });

  test('is 503 for a journal that hangs, after seconds, and asks it no second time meanwhile', async () => {
    let asked = 0;
    const url = await serveHealthOf(() => {
      asked += 1;
      return new Promise(() => undefined);
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => fetch(url)));
    const [{ detail }] = (await Promise.all(answers.map((answer) => answer.json()))) as [
      { detail: string },
    ];
    expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(503));
    expect(detail).toBe('The journal has not answered in 2 seconds.');
    expect(asked).toBe(1);
  });

  test('asks the journal once for all who ask in the same second', async () => {
    let asked = 0;
    const url = await serveHealthOf(async () => {
      asked += 1;
    });
    for (let count = 0; count < 10; count++) expect((await fetch(url)).status).toBe(200);
    expect(asked).toBeLessThan(10);
  });
});

describe('the health check of the container', () => {
  test('exits 1 and says why while nothing can be published', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'health-'));
    const service = await runProgram('dist/main.js', {
      env: { JWT_KEY, JOURNAL: `lmdb:${directory}` },
    });
    const check = async () => {
      const outcome = runProgram('dist/healthcheck.js', { env: { PORT: String(service.port) } });
      return (await outcome.catch((error: unknown) => error)) as EarlyExit;
    };
    expect(await check()).toMatchObject({ exit: { code: 0 }, stderr: '' });
    await rm(directory, { recursive: true });
    // An answer holds for a second.
    let sick = await check();
    while (sick.exit.code === 0) sick = await check();
    expect(sick.exit.code).toBe(1);
    expect(sick.stderr).toMatch(/^The journal cannot be written: .*\n$/);
    expect(await (await fetch(`${service.url}/health`)).json()).toMatchObject({
      status: 503,
      detail: sick.stderr.trim(),
    });
  });
});
