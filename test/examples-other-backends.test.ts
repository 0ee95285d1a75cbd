import { execFile, spawnSync } from 'node:child_process';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { connect } from './support/sse-client.js';
import { tokenFor } from './support/tokens.js';

const FOLDER = 'examples/other-backends';
const PUBLISHERS = [
  ['sh', `${FOLDER}/publish.sh`],
  ['python3', `${FOLDER}/publish.py`],
  ['php', `${FOLDER}/publish.php`],
] as const;
/** A machine need not have PHP; the test command installs it where it may. */
const isMissing = (command: string) => spawnSync(command, ['--version']).error !== undefined;
const missing: string[] = PUBLISHERS.map(([command]) => command).filter(isMissing);
if (missing.length > 0) {
  console.warn(
    `There is no ${missing.join(' and no ')} here: what publishes with it is not tested.`,
  );
}

/** Of what a script's author would rather not think about. */
const TOPIC = 'https://example.com/böoks?a=1&b="2"';
const DATA = 'it\'s 100% "<b>ünïcode</b>" + \\n & $HOME `id`\nsecond=line;';

let service: Service;

beforeAll(async () => {
  service = await startTestService();
});

afterEach(killPrograms);
afterAll(() => service.stop());

interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a publisher to its end. */
async function run(
  [command, file]: readonly [string, string],
  args: readonly string[],
  given: Record<string, string | undefined>,
): Promise<Result> {
  const own = { HUB_URL: `${service.url}/hub`, JWT_KEY, TOKEN: await tokenFor() };
  const env = { ...process.env, no_proxy: '*', ...own, ...given };
  return new Promise((resolve) => {
    execFile(command, [file, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

interface Asked {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A hub that answers each request as it is told, and says what it was asked. */
async function standIn(answers: readonly ((response: ServerResponse) => void)[]) {
  const asked: Asked[] = [];
  const server = createServer(async (request, response) => {
    const { headers } = request;
    asked.push({ headers, body: await text(request) });
    answers[asked.length - 1]?.(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    HUB_URL: `http://127.0.0.1:${port}/hub`,
    asked,
    close: () => new Promise((resolve) => server.close(resolve)),
  };
}

test('the example other-backends publishes with each, and prints what comes', async () => {
  const program = await runProgram('scripts/example.js', { args: ['other-backends'] });
  for (const [command] of PUBLISHERS) {
    await program.printed(
      missing.includes(command)
        ? new RegExp(`There is no ${command} here`)
        : new RegExp(`^id: \\d+-\\d+\ndata: hello from ${command}\n\n`, 'm'),
    );
  }
  expect(program.stdout() + program.stderr()).not.toMatch(/eyJ/);
});

for (const publisher of PUBLISHERS) {
  const [command, file] = publisher;
  const suite = missing.includes(command) ? describe.skip : describe;

  suite(file, () => {
    test('publishes any text as it is, and prints the id of the update', async () => {
      const topic = `${TOPIC}/${command}`;
      const subscriber = await connect(`${service.url}/hub?topic=${encodeURIComponent(topic)}`);
      const TOKEN = await tokenFor({ publish: [topic] });
      const { code, stdout, stderr } = await run(publisher, [topic, DATA], { TOKEN });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(await subscriber.next()).toMatchObject({ id: stdout.trimEnd(), data: DATA });
      subscriber.abort();
    });

    test('publishes once where answers are lost or the hub is overloaded', async () => {
      const hub = await standIn([
        (response) => response.destroy(),
        (response) => response.writeHead(503, { 'Retry-After': '0' }).end('{}'),
        (response) => response.end('the-id'),
      ]);
      const { code, stdout } = await run(publisher, [TOPIC, DATA], { HUB_URL: hub.HUB_URL });
      expect({ code, stdout }).toEqual({ code: 0, stdout: 'the-id\n' });
      expect(hub.asked.length).toBe(3);
      expect(new Set(hub.asked.map(({ body }) => body)).size).toBe(1);
      const keys = new Set(hub.asked.map(({ headers }) => headers['idempotency-key']));
      expect([...keys]).toEqual([expect.stringMatching(/^[\w-]{20,}$/)]);
      await hub.close();
    });

    test('uses another key for the next update', async () => {
      const hub = await standIn([(response) => response.end('1'), (response) => response.end('2')]);
      const once = () => run(publisher, [TOPIC, DATA], { HUB_URL: hub.HUB_URL });
      await Promise.all([once(), once()]);
      const keys = new Set(hub.asked.map(({ headers }) => headers['idempotency-key']));
      expect(keys.size).toBe(2);
      await hub.close();
    });

    test('asks once and says why where it is refused, without its token or key', async () => {
      const wrong = 'another secret, which has thirty-two bytes and more';
      const TOKEN = `${await tokenFor()}AAAA`;
      const result = await run(publisher, [TOPIC, DATA], { JWT_KEY: wrong, TOKEN });
      expect(result).toMatchObject({ code: 1, stdout: '' });
      expect(result.stderr).toContain('The hub answered 401: {"title":"Unauthorized"');
      expect(result.stderr).not.toContain(TOKEN);
      expect(result.stderr).not.toContain(wrong);
      expect(result.stderr).not.toContain('eyJ');
    });

    test('says what it needs', async () => {
      const [help, without] = await Promise.all([
        run(publisher, [TOPIC], {}),
        run(publisher, [TOPIC, DATA], { JWT_KEY: undefined, TOKEN: undefined }),
      ]);
      expect(help.code).not.toBe(0);
      expect(help.stderr).toMatch(/^Usage: .*publish\.(sh|py|php) TOPIC DATA\n$/);
      expect(without.code).not.toBe(0);
      expect(without.stderr).toMatch(/There is no (key|token) /);
    });
  });
}
