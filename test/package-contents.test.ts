import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { INSTALL_MS, installedProject } from './support/installed-project.js';
import { type OwnPackage, type Registry, startRegistry } from './support/registry.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { connect } from './support/sse-client.js';
import { emptyProject, type TemporaryProject } from './support/temporary-project.js';

const NAMES = ['koa-sse-hub', 'koa-event-stream'] as const;

/** What koa-sse-hub serves with, but for LMDB and the client of Redis. */
const SERVING = [
  'koa',
  '@koa/router',
  '@koa/cors',
  'koa-helmet',
  'jose',
  'lru-cache',
  'pino',
  'zod',
];

let registry: Registry;
const projects: TemporaryProject[] = [];

beforeAll(async () => {
  registry = await startRegistry();
}, INSTALL_MS);

afterEach(async () => {
  await killPrograms();
  for (const project of projects.splice(0)) project.remove();
});

afterAll(() => registry.close());

describe.each(NAMES)('the tarball of %s', (name) => {
  const check = async (tool: string, ...options: string[]) => {
    const project = await installedProject('node --version', registry);
    projects.push(project);
    const program = join(process.cwd(), 'node_modules/.bin', tool);
    return project.run([program, ...options, registry.tarballs[name]].join(' '));
  };

  test('has nothing that publint objects to', async () => {
    expect(await check('publint', 'run', '--strict')).toMatchObject({ code: 0 });
  });

  // As ES modules alone: Node can require() them, which this tool does not take into account.
  test('has types that are right wherever there are ES modules', async () => {
    expect(await check('attw', '--profile', 'esm-only')).toMatchObject({ code: 0 });
  });

  test('asks for a Koa of its user, and brings none', () => {
    const { dependencies = {}, peerDependencies, peerDependenciesMeta } = manifestOf(name);
    expect(dependencies).not.toHaveProperty('koa');
    const required = Object.keys(peerDependencies).filter(
      (peer) => !peerDependenciesMeta[peer]?.optional,
    );
    expect(required).toEqual(['koa']);
    expect(peerDependencies.koa).toBe('^3.1.0');
  });

  test('has the license and the version of the repository', () => {
    expect(textIn(name, 'LICENSE')).toBe(readFileSync('LICENSE', 'utf8'));
    expect(manifestOf(name).version).toBe(JSON.parse(readFileSync('package.json', 'utf8')).version);
  });
});

describe('the tarball of koa-event-stream', () => {
  test('has no dependencies, and unpacked less than 60 KB', () => {
    expect(manifestOf('koa-event-stream').dependencies).toBeUndefined();
    const files = filesOf('koa-event-stream');
    const bytes = files.map((file) => Buffer.byteLength(textIn('koa-event-stream', file)));
    expect(bytes.reduce((sum, each) => sum + each)).toBeLessThan(60_000);
  });

  test('has its public functions documented in place', () => {
    expect(textIn('koa-event-stream', 'dist/sse/middleware.d.ts')).toContain(
      '* Makes a route an event stream',
    );
  });
});

describe('what is loaded', () => {
  test('a bundle has only those parts of koa-event-stream that it uses', () => {
    const { folder } = unpacked(
      ['koa-event-stream'],
      "import { encodeFrame } from 'koa-event-stream'; console.log(encodeFrame({ data: 'x' }));",
    );
    const bundle = execFileSync(
      resolve('node_modules/.bin/esbuild'),
      ['--bundle', '--platform=node', '--format=esm', 'index.js'],
      { cwd: folder, encoding: 'utf8' },
    );
    expect(bundle).toContain('function encodeFrame');
    expect(bundle).not.toMatch(/class (Audience|EventStream)|flushAfterTurn/);
  });

  test('koa-event-stream and koa-sse-hub need no other package to send events', async () => {
    const code = (name: string) => `
      import { Audience, EventStream } from '${name}';
      const stream = new EventStream();
      new Audience().add(stream).send({ data: '${name}' });
      stream.once('data', (frame) => console.log(String(frame)));
    `;
    for (const name of NAMES) {
      const { stdout } = run(unpacked([name], code(name)));
      expect(stdout).toBe(`data: ${name}\n\n\n`);
    }
  });

  test('the hub in memory needs neither LMDB nor Redis, which only their journals load', () => {
    const project = unpacked(
      ['koa-sse-hub', 'lru-cache'],
      `
      import { Hub, openJournal } from 'koa-sse-hub/hub';
      const hub = await Hub.open(await openJournal('memory:'));
      const ids = await hub.publish([{ topics: ['news'], data: 'hello' }]);
      console.log(ids.length);
      for (const url of ['lmdb:./data', 'redis://localhost']) {
        await openJournal(url).catch(({ code, message }) => console.log(code, message));
      }
      await hub.close();
    `,
    );
    expect(run(project).stdout.split('\n')).toEqual([
      '1',
      expect.stringMatching(/^ERR_MODULE_NOT_FOUND .*'lmdb'/),
      expect.stringMatching(/^ERR_MODULE_NOT_FOUND .*'redis'/),
      '',
    ]);
  });

  test('the service in memory needs neither', async () => {
    const { folder } = unpacked(['koa-sse-hub', ...SERVING]);
    const program = await runProgram('node_modules/koa-sse-hub/dist/main.js', {
      cwd: folder,
      env: { JOURNAL: 'memory:' },
    });
    const client = await connect(`${program.url}/stream`);
    expect((await client.next()).data).toBe('hello from stream');
    client.abort();
  });
});

/** A project that has these packages, and not what they depend on. */
function unpacked(names: readonly string[], code = ''): TemporaryProject {
  const project = emptyProject([['index.js', code]]);
  projects.push(project);
  for (const name of names) {
    const folder = join(project.folder, 'node_modules', name);
    mkdirSync(dirname(folder), { recursive: true });
    const tarball = (registry.tarballs as Record<string, string>)[name];
    if (tarball === undefined) symlinkSync(join(process.cwd(), 'node_modules', name), folder);
    else {
      mkdirSync(folder);
      execFileSync('tar', ['-xzf', tarball, '-C', folder, '--strip-components=1']);
    }
  }
  return project;
}

function run({ folder }: TemporaryProject): { stdout: string } {
  const env = { ...process.env, NODE_OPTIONS: '' };
  return { stdout: execFileSync(process.execPath, ['index.js'], { cwd: folder, env }).toString() };
}

function filesOf(name: OwnPackage): string[] {
  const list = execFileSync('tar', ['-tzf', registry.tarballs[name]], { encoding: 'utf8' });
  return list
    .trim()
    .split('\n')
    .map((path) => path.replace(/^package\//, ''));
}

function textIn(name: OwnPackage, file: string): string {
  return execFileSync('tar', ['-xzOf', registry.tarballs[name], `package/${file}`], {
    encoding: 'utf8',
  });
}

function manifestOf(name: OwnPackage) {
  return JSON.parse(textIn(name, 'package.json'));
}
