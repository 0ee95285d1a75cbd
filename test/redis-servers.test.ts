import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { findRedisServer } from '../scripts/find-redis-server.js';
import type { Journal } from '../src/journal/journal.js';
import { openRedisJournal, type RedisJournalOptions } from '../src/journal/redis/redis.js';
import { openRedisRoster } from '../src/journal/redis/roster.js';
import type { Departure, Roster } from '../src/journal/roster.js';
import { freePort } from './support/free-port.js';
import {
  allEndings,
  dataOf,
  KEEP_ALL,
  readAll,
  until,
  update,
} from './support/journal-contract.js';
import {
  ask,
  type RedisServer,
  type RedisServerOptions,
  startRedis,
} from './support/redis-server.js';
import { all, entry, subscriber } from './support/roster-contract.js';

const opened: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close();
});

async function startServer(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await startRedis({ persistence: 'none', ...options });
  opened.push(() => server.close());
  return server;
}

async function open(url: string, options: Partial<RedisJournalOptions> = {}): Promise<Journal> {
  const journal = await openRedisJournal({ ...KEEP_ALL, sync: 'os', url, ...options });
  opened.push(() => journal.close());
  return journal;
}

async function openRoster(url: string): Promise<Roster> {
  const roster = await openRedisRoster(url, { prefix: 'sse-hub', timeoutMs: 600 });
  opened.push(() => roster.close());
  return roster;
}

/** As docs/operations.md has them. */
const PERMISSIONS =
  '+@read +@write -@dangerous +@scripting +@connection +info +time +wait +config|get'.split(' ');

/** Appends in one journal, and reads it in the other. */
async function expectShared(one: Journal, other: Journal): Promise<void> {
  await one.append([update('shared')]);
  expect(dataOf(await readAll(other))).toEqual(['shared']);
}

/** A sentinel that watches a primary by the name of `main`. */
async function startSentinel(primaryPort: number): Promise<{ port: number; url: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'sentinel-'));
  const port = await freePort();
  const file = join(directory, 'sentinel.conf');
  await writeFile(
    file,
    [
      `port ${port}`,
      `dir ${directory}`,
      `sentinel monitor main 127.0.0.1 ${primaryPort} 1`,
      'sentinel down-after-milliseconds main 1000',
    ].join('\n'),
  );
  const child = spawn(findRedisServer() as string, [file, '--sentinel']);
  opened.push(async () => {
    child.kill('SIGKILL');
    await once(child, 'close');
    await rm(directory, { recursive: true });
  });
  const url = `redis://127.0.0.1:${port}`;
  await until(async () =>
    ask(url, 'PING').then(
      () => true,
      () => false,
    ),
  );
  return { port, url };
}

/** Two nodes of a cluster. The keys of the journal are on the second. */
async function startCluster(): Promise<readonly { readonly port: number }[]> {
  const nodes = [await startClusterNode(), await startClusterNode()] as const;
  const [first, second] = nodes;
  const slot = Number(await ask(first.url, 'CLUSTER', 'KEYSLOT', '{sse-hub}:meta'));
  const others = Array.from({ length: 16_384 }, (_, n) => `${n}`).filter((n) => n !== `${slot}`);
  await ask(first.url, 'CLUSTER', 'ADDSLOTS', ...others);
  await ask(second.url, 'CLUSTER', 'ADDSLOTS', `${slot}`);
  await ask(first.url, 'CLUSTER', 'MEET', '127.0.0.1', `${second.port}`, second.busPort);
  for (const { url } of nodes) {
    await until(async () => {
      const info = String(await ask(url, 'CLUSTER', 'INFO'));
      return /cluster_state:ok/.test(info) && /cluster_known_nodes:2/.test(info);
    });
  }
  return nodes;
}

async function startClusterNode() {
  // The usual port of its bus is 10,000 higher, which not all ports leave room for.
  const busPort = `${await freePort()}`;
  const config = { 'cluster-enabled': 'yes', 'cluster-port': busPort };
  const { port, url } = await startServer({ config });
  return { port, url, busPort };
}

/** Answers as a Redis of a version does. */
async function startFake(version: string): Promise<{ port: number }> {
  const server = createServer((socket) => {
    socket.on('data', (bytes) => {
      const commands = bytes
        .toString()
        .split(/^\*\d+\r\n/m)
        .slice(1);
      for (const command of commands) {
        const info = `redis_version:${version}\r\nrole:master\r\n`;
        socket.write(/INFO\r/.test(command) ? `$${info.length}\r\n${info}\r\n` : '+OK\r\n');
      }
    });
    socket.on('error', () => {});
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push(async () => server.close());
  return { port: (server.address() as { port: number }).port };
}

describe('a journal in Redis is found', () => {
  test('at a host and a port, in a database, and not in another', async () => {
    const server = await startServer();
    await expectShared(await open(`${server.url}/3`), await open(`${server.url}/3`));
    expect(await readAll(await open(server.url))).toEqual([]);
  });

  test('at a socket of the file system', async () => {
    const server = await startServer();
    const url = `redis+unix://${server.socketPath}?db=2`;
    await expectShared(await open(url), await open(`${server.url}/2`));
  });

  test('with a user and a password that need to be encoded', async () => {
    const server = await startServer();
    const password = 'p@ss:w/rd?#%';
    const rules = ['on', `>${password}`, '~*', '+@all'];
    await ask(server.url, 'ACL', 'SETUSER', 'the@hub', ...rules);
    const login = `${encodeURIComponent('the@hub')}:${encodeURIComponent(password)}`;
    await expectShared(
      await open(`redis://${login}@127.0.0.1:${server.port}`),
      await open(server.url),
    );
  });

  test('by a user who may do no more than docs/operations.md lists', async () => {
    const server = await startServer();
    await ask(server.url, 'ACL', 'SETUSER', 'hub', 'on', '>secret', '~{sse-hub}:*', ...PERMISSIONS);
    const url = `redis://hub:secret@127.0.0.1:${server.port}`;
    const journal = await open(url, { replicas: 0 });
    const refs = await journal.append([update('a', { id: 'x' })], {
      key: { key: 'k', digest: 'd' },
    });
    expect(await journal.locate('x')).toMatchObject({ found: true });
    expect(await journal.newest(['t'], { count: 1 })).toHaveLength(1);
    expect((await journal.bounds()).head).toEqual(refs[0]);
    await journal.append([update('end', { last: true, topics: ['ended', 'reopened'] })]);
    await journal.append([update('again', { reopen: true, topics: ['reopened'] })]);
    expect(await allEndings(journal)).toMatchObject([{ ended: ['ended'] }]);

    const [one, two] = [await openRoster(url), await openRoster(url)];
    await one.note([subscriber('one', ['x'], 'payload'), subscriber('two', ['x'])], []);
    await one.note([], [subscriber('one', ['x'], 'payload')]);
    expect(await all(two)).toEqual([entry('x', 'two')]);
    const left = new Promise<Departure>((resolve) => {
      two.watch({ left: async (departure) => resolve(departure), expelled: () => undefined });
    });
    await one.close();
    expect(await left).toMatchObject({
      ended: [{ subscriber: 'one' }],
      active: [{ subscriber: 'two' }],
    });
  });

  test('over TLS, if an authority that is trusted has signed for its name', async () => {
    const server = await startServer();
    const files = { key: join(server.directory, 'key.pem'), cert: join(server.directory, 'c.pem') };
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const made = ['-keyout', files.key, '-out', files.cert, '-days', '2', ...subject];
    const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', ...made];
    expect(spawnSync('openssl', args).status).toBe(0);
    await server.kill();
    const port = await freePort();
    await server.start({
      'tls-port': `${port}`,
      'tls-cert-file': files.cert,
      'tls-key-file': files.key,
      'tls-ca-cert-file': files.cert,
      'tls-auth-clients': 'no',
    });
    const url = `rediss://localhost:${port}`;
    const program = `
      const { openJournal } = await import(${JSON.stringify(join(process.cwd(), 'dist/hub/index.js'))});
      const journal = await openJournal('${url}', { sync: 'os' });
      await journal.append([{ topics: ['t'], data: 'shared', private: false }]);
      await journal.close();
    `;
    const { status, stderr } = spawnSync('node', ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_EXTRA_CA_CERTS: files.cert },
    });
    expect([status, stderr]).toEqual([0, '']);
    expect(dataOf(await readAll(await open(server.url)))).toEqual(['shared']);
    await expect(open(url, { openTimeoutMs: 100 })).rejects.toThrow(/self-signed certificate/);
  });

  test('by its prefix: two prefixes are two journals', async () => {
    const server = await startServer();
    await expectShared(
      await open(server.url, { prefix: 'one' }),
      await open(server.url, { prefix: 'one' }),
    );
    expect(await readAll(await open(server.url, { prefix: 'two' }))).toEqual([]);
    const keys = (await ask(server.url, 'KEYS', '*')) as string[];
    expect(keys.filter((key) => !/^\{(one|two)\}:/.test(key))).toEqual([]);
  });

  test('by sentinels, also after they have made a replica the primary', async () => {
    const first = await startServer();
    const second = await startServer({ config: { replicaof: `127.0.0.1 ${first.port}` } });
    const sentinel = await startSentinel(first.port);
    const journal = await open(`redis+sentinel://127.0.0.1:1,127.0.0.1:${sentinel.port}/main`);
    const told: string[] = [];
    await journal.follow({ entries: (entries) => told.push(...dataOf(entries)), lost() {} });
    await journal.append([update('before')]);
    await until(async () =>
      String(await ask(second.url, 'INFO', 'replication')).includes('status:up'),
    );
    // What a failover comes to, without its pauses.
    await first.kill();
    await ask(second.url, 'REPLICAOF', 'NO', 'ONE');
    await ask(sentinel.url, 'SENTINEL', 'REMOVE', 'main');
    await ask(sentinel.url, 'SENTINEL', 'MONITOR', 'main', '127.0.0.1', `${second.port}`, '1');
    await until(async () =>
      journal.append([update('after', { id: 'once' })]).then(
        () => true,
        () => false,
      ),
    );
    expect(dataOf(await readAll(await open(second.url)))).toEqual(['before', 'after']);
    await until(async () => told.length === 2);
    expect(told).toEqual(['before', 'after']);
  });

  test('in a cluster, by any of its nodes, wherever its keys are', async () => {
    const nodes = await startCluster();
    // The keys are on one of them; the other one says on which.
    for (const { port } of nodes) {
      const journal = await open(`redis+cluster://127.0.0.1:${port}`);
      await journal.append([update(`by ${port}`)]);
      expect(dataOf(await readAll(journal)).at(-1)).toBe(`by ${port}`);
      await journal.append([update('end', { last: true, reopen: true, topics: ['ended'] })]);
      expect(await allEndings(journal)).toMatchObject([{ ended: ['ended'] }]);
    }
  });
});

test('the roster of the nodes is found in a cluster by any of its nodes, and by a socket', async () => {
  const nodes = await startCluster();
  const { socketPath } = await startServer();
  const cluster = nodes.map(({ port }) => `redis+cluster://127.0.0.1:${port}`);
  for (const urls of [cluster, Array(2).fill(`redis+unix://${socketPath}`)]) {
    const rosters = await Promise.all(urls.map((url) => openRoster(url)));
    await rosters[0]?.note([subscriber('one', ['x'])], []);
    for (const roster of rosters) expect(await all(roster)).toEqual([entry('x', 'one')]);
  }
});

describe('a journal in Redis is refused', () => {
  test('by a server that is too old, with its version', async () => {
    const { port } = await startFake('6.0.16');
    const opening = open(`redis://127.0.0.1:${port}`);
    await expect(opening).rejects.toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    await expect(opening).rejects.toThrow(/is Redis 6\.0\.16: it must be 6\.2 or newer, or Valkey/);
  });

  test('if another version has stored it, also while it is open', async () => {
    const server = await startServer();
    const journal = await open(server.url);
    await ask(server.url, 'HSET', '{sse-hub}:meta', 'format', '99');
    await expect(open(server.url)).rejects.toThrow(/of format 99, and this version knows format 1/);
    await expect(journal.append([update('a')])).rejects.toMatchObject({
      code: 'ERR_JOURNAL_UNAVAILABLE',
      message: expect.stringMatching(/format 99/),
    });
    await ask(server.url, 'HSET', '{sse-hub}:meta', 'format', '1');
    await until(async () =>
      journal.append([update('a')]).then(
        () => true,
        () => false,
      ),
    );
  });

  test.each(['meta', 'entries', 'index'])('if all but its %s is left', async (key) => {
    const server = await startServer();
    const journal = await open(server.url);
    await journal.append([update('a')]);
    await ask(server.url, 'DEL', `{sse-hub}:${key}`);
    const reason = /only a part of the journal of \{sse-hub\}:meta/;
    await expect(open(server.url)).rejects.toThrow(reason);
    // Who has it open finds out, too.
    await expect(journal.append([update('b')])).rejects.toMatchObject({
      code: 'ERR_JOURNAL_UNAVAILABLE',
    });
    await expect(journal.ping()).rejects.toMatchObject({
      code: 'ERR_JOURNAL_UNAVAILABLE',
      message: expect.stringMatching(reason),
    });
  });

  test('with a password that is wrong, which nothing tells', async () => {
    const server = await startServer({ config: { requirepass: 'right' } });
    const notices: string[] = [];
    const opening = open(`redis://:wrong-one@127.0.0.1:${server.port}`, {
      onNotice: ({ message }) => notices.push(message),
    });
    const error = (await opening.catch((reason: unknown) => reason)) as Error;
    expect(error).toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    expect(error.message).toMatch(/WRONGPASS/);
    expect([error.message, ...notices].join()).not.toContain('wrong-one');
  });

  test.each([
    'redis://',
    'redis://user:secret@',
    'redis://user:secret@host:port',
    'redis://user:secret@host/db',
    'redis://user:secret@one,two',
    'redis://user:sec%ret@host',
    'redis+unix://user:secret@host',
    'redis+sentinel://user:secret@host:26379',
    'redis+cluster://user:secret@host/1',
    'redis+other://user:secret@host',
    'rediss://user:secret@host:99999',
  ])('at an address that is none, without its password (%s)', async (url) => {
    const error = (await open(url).catch((reason: unknown) => reason)) as Error;
    expect(error).toMatchObject({ name: 'JournalError', code: 'ERR_JOURNAL_OPEN' });
    expect(error.message).toMatch(/redis\+sentinel:/);
    expect(error.message).not.toMatch(/sec/);
  });

  test('if nobody answers, after a time', async () => {
    const server = await startServer();
    await server.kill();
    const url = `redis://:secret@127.0.0.1:${server.port}`;
    const opening = openRedisJournal({ ...KEEP_ALL, url, openTimeoutMs: 200 });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_JOURNAL_OPEN' });
    await expect(opening).rejects.toThrow(
      /redis:\/\/\*\*\*@127.* cannot be opened: .*ECONNREFUSED/,
    );
  });
});

describe('an acknowledgement', () => {
  test('with JOURNAL_REPLICAS comes when so many have it; without them the outcome is not known, and a repeat is safe', async () => {
    const server = await startServer();
    const journal = await open(server.url, { replicas: 1 });
    const once = [update('a', { id: 'x' })];
    const start = performance.now();
    const failing = journal.append(once);
    await expect(failing).rejects.toMatchObject({ code: 'ERR_JOURNAL_OUTCOME_UNKNOWN' });
    await expect(failing).rejects.toThrow(/Of 1 replicas 0 have confirmed it/);
    expect(performance.now() - start).toBeLessThan(5000);
    const replica = await startServer({ config: { replicaof: `127.0.0.1 ${server.port}` } });
    await until(async () =>
      String(await ask(replica.url, 'INFO', 'replication')).includes('status:up'),
    );
    await until(async () =>
      journal.append(once).then(
        () => true,
        () => false,
      ),
    );
    expect(dataOf(await readAll(journal))).toEqual(['a']);
  });

  test.each([
    ['always', undefined],
    ['everysec', /appendfsync of Redis is everysec/],
    ['none', /Redis writes no AOF/],
  ] as const)('for the disk is what Redis promises: with AOF %s', async (persistence, notice) => {
    const server = await startServer({ persistence });
    const notices: string[] = [];
    const journal = await open(server.url, {
      sync: 'disk',
      onNotice: ({ message }) => notices.push(message),
    });
    await journal.append([update('a')]);
    expect(notices).toEqual(notice === undefined ? [] : [expect.stringMatching(notice)]);
  });

  test('is kept over a kill with AOF always', async () => {
    const server = await startServer({ persistence: 'always' });
    const journal = await open(server.url, { sync: 'disk' });
    await Promise.all(Array.from({ length: 50 }, (_, n) => journal.append([update(`${n}`)])));
    await server.kill();
    await server.start();
    const again = await open(server.url);
    expect(dataOf(await readAll(again))).toEqual(Array.from({ length: 50 }, (_, n) => `${n}`));
  });

  test('warns of a server that removes keys when its memory is full', async () => {
    const server = await startServer({
      config: { maxmemory: '100mb', 'maxmemory-policy': 'allkeys-lru' },
    });
    const notices: string[] = [];
    await open(server.url, { onNotice: ({ message }) => notices.push(message) });
    expect(notices).toEqual([expect.stringMatching(/maxmemory-policy .* allkeys-lru/)]);
  });
});

test.each([
  ['memory:', [], ['lmdb', 'redis']],
  ['lmdb:', ['lmdb'], ['redis']],
  ['redis:', ['redis'], ['lmdb']],
])('a journal loads what it needs and nothing more: %s', async (kind, loaded, notLoaded) => {
  const server = await startServer();
  const url = {
    'memory:': kind,
    'lmdb:': `lmdb:${join(server.directory, 'l')}`,
    'redis:': server.url,
  }[kind] as string;
  const script = `
    import { createRequire } from 'node:module';
    import { openJournal } from ${JSON.stringify(join(process.cwd(), 'dist/hub/index.js'))};
    const journal = await openJournal(${JSON.stringify(url)});
    await journal.close();
    const maps = process.report.getReport().sharedObjects;
    const files = [...Object.keys(createRequire(import.meta.url).cache), ...maps];
    console.log(JSON.stringify(files));
  `;
  const { stdout, stderr } = spawnSync('node', ['--input-type=module', '-e', script], {
    encoding: 'utf8',
  });
  const files = JSON.parse(stdout || JSON.stringify(stderr)) as string[];
  const has = (name: string) =>
    files.some((file) => new RegExp(`node_modules/@?${name}`).test(file));
  expect([loaded.filter((name) => !has(name)), notLoaded.filter(has)]).toEqual([[], []]);
});
