import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { endWithThis } from './support/end-with-this.js';
import { freePort } from './support/free-port.js';
import { GUIDE, type GuideProject, guideProject } from './support/guide.js';
import { killPrograms } from './support/run-program.js';
import { connect } from './support/sse-client.js';

interface Proxy {
  /** The language of the guide's block. */
  readonly block: string;
  readonly command: string;
  readonly args: readonly string[];
  /** What the guide's block needs around it, to run alone and as any user. */
  readonly file: (block: string, port: number, folder: string) => string;
}

const PROXIES: Record<string, Proxy> = {
  nginx: {
    block: 'nginx',
    command: 'nginx',
    args: ['-e', 'stderr', '-g', 'daemon off;', '-c'],
    file: (block, port, folder) => `
      pid ${folder}/pid;
      events {}
      http {
        access_log off;
        gzip on;
        ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${folder}/${name};`).join(' ')}
        server { listen 127.0.0.1:${port}; ${block} }
      }`,
  },
  Caddy: {
    block: 'caddyfile',
    command: 'caddy',
    args: ['run', '--adapter', 'caddyfile', '--config'],
    file: (block, port) =>
      `{\n\tadmin off\n}\n${block.replace(':8080 {', `:${port} {\n\tencode gzip`)}`,
  },
  HAProxy: {
    block: 'haproxy',
    command: 'haproxy',
    args: ['-f'],
    file: (block, port) =>
      block.replace(
        'bind :8080',
        `bind 127.0.0.1:${port}\n  compression algo gzip\n  compression type text/event-stream`,
      ),
  },
};

let project: GuideProject;
const children: ChildProcess[] = [];

beforeAll(() => {
  project = guideProject();
});

afterEach(async () => {
  await killPrograms();
  for (const child of children.splice(0)) {
    if (child.exitCode !== null) continue;
    child.kill();
    await once(child, 'close');
  }
});

afterAll(() => project.remove());

describe.each(Object.entries(PROXIES))('behind %s, as the guide configures it', (name, proxy) => {
  // nginx is what all tests need. Of the others the result says that they were left out.
  const isHere = name === 'nginx' || spawnSync(proxy.command, ['version']).error === undefined;
  const testIfHere = isHere ? test : test.skip;

  testIfHere('each event comes at once, compression or not', async () => {
    const program = await project.start('9-library.mjs');
    const url = await run(proxy, program.port);
    const client = await connect(url, { 'Accept-Encoding': 'gzip' });
    for (const data of ['one', 'two', 'three']) {
      let sent = '';
      // The first is published until the client has joined.
      while (sent !== 'sent to 1\n') {
        sent = await (await fetch(`${program.url}/?data=${data}`, { method: 'POST' })).text();
      }
      expect((await client.next()).data).toBe(data);
    }
    client.abort();
  });

  testIfHere('a stream that finds no app has its connection closed, and no status', async () => {
    const program = await project.start('9-library.mjs');
    const url = await run(proxy, program.port);
    await program.kill();
    await expect(connect(url)).rejects.toThrow(/socket hang up|ECONNRESET/);
  });
});

/** Starts a proxy before a port of this machine; resolves with its URL when it accepts connections. */
async function run({ block, command, args, file }: Proxy, target: number): Promise<string> {
  const port = await freePort();
  const folder = join(project.folder, `${block}-${port}`);
  mkdirSync(folder);
  const [, text = ''] = new RegExp(`^\`\`\`${block}\n(.*?)^\`\`\`$`, 'ms').exec(GUIDE) ?? [];
  expect(text).toContain('127.0.0.1:3000');
  const config = join(folder, 'config');
  const own = text.replaceAll('127.0.0.1:3000', `127.0.0.1:${target}`);
  writeFileSync(config, file(own, port, folder));
  const child = spawn(command, [...args, config], {
    cwd: folder,
    env: { ...process.env, HOME: folder },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  children.push(child);
  endWithThis(child, 'TERM');
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    log += more;
  });
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${command} has not started:\n${log}`);
    const socket = connectTcp(port, '127.0.0.1');
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return `http://127.0.0.1:${port}`;
    await delay(10);
  }
}
