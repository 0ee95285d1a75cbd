import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import {
  INSTALL_MS,
  type InstalledProject,
  installedProject,
} from './support/installed-project.js';
import { type Registry, startRegistry } from './support/registry.js';
import { killPrograms, runProgram } from './support/run-program.js';
import { connect } from './support/sse-client.js';

const README = readFileSync('README.md', 'utf8');
const [, SNIPPET = ''] = /```js\n(import Koa .*?)```/s.exec(README) ?? [];
const STREAMS = SNIPPET.replace("'koa-sse-hub'", "'koa-event-stream'");

const FILES = [
  ['snippet.js', SNIPPET],
  ['snippet.ts', SNIPPET],
  ['streams.js', STREAMS],
  ['streams.ts', STREAMS],
  [
    'tsconfig.json',
    JSON.stringify({
      compilerOptions: { module: 'nodenext', strict: true, noEmit: true, skipLibCheck: false },
    }),
  ],
] as const;

let registry: Registry;
let project: InstalledProject | undefined;

beforeAll(async () => {
  registry = await startRegistry();
}, INSTALL_MS);

afterEach(async () => {
  await killPrograms();
  project?.remove();
  project = undefined;
});

afterAll(() => registry.close());

/** Runs a file of the project until it has greeted a client. */
async function greets(file: string, folder: string): Promise<void> {
  const program = await runProgram(file, { cwd: folder });
  const client = await connect(program.url);
  expect((await client.next()).data).toBe('hello from stream');
  client.abort();
}

test(
  'pnpm, which hides what a project has not asked for, installs both packages and their types',
  async () => {
    const command = 'pnpm add koa-sse-hub koa-event-stream koa @types/koa';
    project = await installedProject(command, registry, FILES);
    await greets('snippet.js', project.folder);
    await greets('streams.js', project.folder);
    const tsc = join(process.cwd(), 'node_modules/.bin/tsc');
    expect(await project.run(`${tsc} -p .`)).toEqual({ code: 0, output: '' });
  },
  INSTALL_MS,
);

test(
  'npm installs the tarball of koa-event-stream',
  async () => {
    const command = `npm install ${registry.tarballs['koa-event-stream']} koa`;
    project = await installedProject(command, registry, FILES);
    await greets('streams.js', project.folder);
  },
  INSTALL_MS,
);

test(
  'npx runs the service, and brings the Koa that it needs',
  async () => {
    project = await installedProject('node --version', registry);
    const service = spawn('npx', ['--yes', 'koa-sse-hub'], {
      cwd: project.folder,
      env: { ...project.env, PORT: '0', JOURNAL: 'memory:' },
      stdio: ['ignore', 'pipe', 'ignore'],
      detached: true, // A group of its own: npx, a shell and the service.
    });
    const exited = once(service, 'exit');
    try {
      const client = await connect(`${await listening(service)}/stream`);
      expect((await client.next()).data).toBe('hello from stream');
      client.abort();
    } finally {
      process.kill(-(service.pid as number), 'SIGKILL');
      await exited;
    }
  },
  INSTALL_MS,
);

/** The address that the service prints when it listens. */
async function listening({ stdout }: ChildProcessByStdio<null, Readable, null>): Promise<string> {
  for await (const line of createInterface(stdout)) {
    const url = /^koa-sse-hub listens on (\S+)$/.exec(line)?.[1];
    if (url !== undefined) return url;
  }
  throw new Error('The service has ended before it listened.');
}
