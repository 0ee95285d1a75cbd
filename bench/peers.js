/**
 * The servers that are compared: how each is started, what is sent to subscribe and to publish.
 *
 * Every server is a process of its own on one core, started anew for every round. All speak HTTP/1.1 and are
 * published to over HTTP. koa-sse-hub is the built service with its default settings, a token on every publish
 * and the form that other clients of its protocol send; only where it listens, where its journal is
 * and how many may connect are set. Of a server that keeps its journal in Redis there may be several nodes.
 */
import { spawn } from 'node:child_process';
import { createHmac, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cpuSecondsOf, memoryOf, pinned } from './machine.js';
import { isNchanInstalled, prepareNchan } from './servers/nchan.js';
import { isRedisInstalled, startRedis } from './servers/redis.js';

const results = fileURLToPath(new URL('results/', import.meta.url));
const jwtKey = randomBytes(32).toString('base64url');

const raw = (path) => ({
  subscribe: (topic) => ({ path: `${path.subscribe}${topic}` }),
  publish: (topic, data) => ({ path: `${path.publish}${topic}`, type: 'text/plain', body: data }),
});

const hub = {
  token: signToken({ mercure: { publish: ['*'] } }, jwtKey),
  topics: true,
  templates: true,
  replay: true,
  ndjson: true,
  subscribe: (topic) => ({ path: `/hub?topic=${encodeURIComponent(topic)}` }),
  publish: (topic, data) => ({
    path: '/hub',
    type: 'application/x-www-form-urlencoded',
    body: `topic=${encodeURIComponent(topic)}&data=${data}`,
  }),
  publishMany: (topic, list) => ({
    path: '/hub',
    type: 'application/x-ndjson',
    body: list.map((data) => `${JSON.stringify({ topic, data })}\n`).join(''),
  }),
};

export const peers = [
  {
    id: 'floor',
    label: 'node:http (floor)',
    file: 'servers/floor.js',
    tokens: ['servers/tokens/floor.js'],
    topics: true,
    ...raw({ subscribe: '/', publish: '/' }),
  },
  {
    id: 'naive',
    label: 'naive Koa',
    file: 'servers/naive-koa.js',
    tokens: ['servers/tokens/naive-koa.js'],
    ...raw({ subscribe: '/', publish: '/' }),
  },
  {
    id: 'better-sse',
    label: `better-sse ${versionOf('better-sse')}`,
    file: 'servers/better-sse.js',
    tokens: ['servers/tokens/better-sse.js'],
    installed: versionOf('better-sse') !== '',
    ...raw({ subscribe: '/', publish: '/' }),
  },
  {
    id: 'nchan',
    label: 'nginx + nchan',
    installed: isNchanInstalled,
    topics: true,
    replay: true,
    ...raw({ subscribe: '/subscribe/', publish: '/publish/' }),
  },
  { id: 'hub-memory', label: 'koa-sse-hub, memory', journal: () => 'memory:', ...hub },
  {
    id: 'hub-lmdb',
    label: 'koa-sse-hub, LMDB',
    journal: (directory) => `lmdb:${directory}`,
    ...hub,
  },
  {
    id: 'hub-redis',
    label: 'koa-sse-hub, Redis',
    installed: isRedisInstalled,
    manyNodes: true,
    ...hub,
  },
  // The library alone, for streams that are not updates of a hub.
  ...[
    ['sse(), sendAll', 'koa-sendAll'],
    ['sse(), await send', 'koa-send'],
    ['eventStreams(), sendAll', 'http-sendAll'],
    ['eventStreams(), await send', 'http-send'],
  ].map(([label, way]) => ({
    id: `sse-${way.toLowerCase()}`,
    label,
    tokens: ['servers/tokens/sse.js', way],
    isTokensOnly: true,
  })),
];

const running = new Set();

/**
 * Starts a server and waits until it accepts connections.
 *
 * @param options.nodes how many processes of it, where a peer can have many.
 * @param options.serves what it is to serve: `updates`, or `tokens`, which is another program of the same peer.
 */
export async function start(peer, { cpuProfile, nodes = 1, serves = 'updates' } = {}) {
  const directory = await mkdtemp(join(results, 'server-'));
  const server = new Server(peer, directory);
  running.add(server);
  try {
    await server.start(nodes, { cpuProfile, serves });
    return server;
  } catch (error) {
    await server.stop();
    throw new Error(`${peer.label} does not start: ${error.message}\n${server.output}`);
  }
}

/** Ends every server that runs, without waiting: for when this process ends. */
export function killServers() {
  for (const server of running) server.kill('SIGKILL');
}

class Server {
  /** Where each node listens; the first is that of a server that is one process. */
  ports = [];
  redis;
  #nodes = [];
  #directory;

  constructor(peer, directory) {
    this.peer = peer;
    this.#directory = directory;
  }

  async start(count, { cpuProfile, serves }) {
    const { peer } = this;
    const directory = this.#directory;
    if (peer.manyNodes) this.redis = await startRedis(directory);
    const nchan = peer.id === 'nchan' ? await prepareNchan(directory) : undefined;
    const command = pinned(nchan?.command ?? nodeCommand(programOf(peer, serves), cpuProfile));
    const journal = this.redis?.url ?? peer.journal?.(join(directory, 'journal')) ?? '';
    for (let index = 0; index < count; index++) {
      const node = new Node(command, journal, nchan?.errors);
      this.#nodes.push(node);
      this.ports.push(nchan?.port ?? (await node.printedPort()));
      await accepts(this.port);
    }
  }

  get port() {
    return this.ports[0];
  }

  /** The newest that it has printed, for an error message. */
  get output() {
    return this.#nodes.map(({ output }) => output).join('\n');
  }

  /** One of its nodes, to publish and subscribe to. */
  node(index) {
    return { peer: this.peer, port: this.ports[index] };
  }

  /** The processor time of all nodes so far, in seconds. */
  get cpuSeconds() {
    return this.#nodes.reduce((sum, { pid }) => sum + cpuSecondsOf(pid), 0);
  }

  cpuSecondsOfNode(index) {
    return cpuSecondsOf(this.#nodes[index].pid);
  }

  get memory() {
    return this.#nodes.reduce((sum, { pid }) => sum + memoryOf(pid), 0);
  }

  kill(signal) {
    for (const node of this.#nodes) node.kill(signal);
    this.redis?.kill();
  }

  async stop() {
    await Promise.all(this.#nodes.map((node) => node.stop()));
    await this.redis?.stop();
    running.delete(this);
    await rm(this.#directory, { recursive: true, force: true });
  }
}

class Node {
  #printed = '';
  #child;
  #exited;
  #errors;

  /** @param errors gives what it has written into a file of errors. */
  constructor([program, ...args], journal, errors = () => '') {
    this.#errors = errors;
    const child = spawn(program, args, {
      // A group of its own, so that a server's children end with it.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NODE_ENV: 'production',
        NODE_OPTIONS: '',
        HOST: '127.0.0.1',
        PORT: '0',
        JWT_KEY: jwtKey,
        // The default is as many as are measured; who measures is connected too.
        MAX_CONNECTIONS: '12000',
        JOURNAL: journal,
      },
    });
    this.#child = child;
    this.#exited = new Promise((resolve) => child.once('close', resolve).once('error', resolve));
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.#printed = (this.#printed + text).slice(-4_000);
      });
    }
  }

  get pid() {
    return this.#child.pid;
  }

  get output() {
    return this.#printed + this.#errors();
  }

  printedPort() {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = /listens on \D*(?:\d+\.\d+\.\d+\.\d+:)?(\d+)/.exec(this.#printed);
        if (match !== null) resolve(Number(match[1]));
      };
      this.#child.stdout.on('data', look);
      this.#exited.then(() => reject(new Error('it has exited')));
      setTimeout(() => reject(new Error('it does not say where it listens')), 10_000).unref();
    });
  }

  kill(signal) {
    try {
      process.kill(-this.pid, signal);
    } catch {
      // It has ended.
    }
  }

  async stop() {
    // In order first, so that a CPU profile is written and nginx ends its worker.
    this.kill('SIGTERM');
    const cut = setTimeout(() => this.kill('SIGKILL'), 5_000);
    await this.#exited;
    clearTimeout(cut);
  }
}

/** The bytes of a request that subscribes, on a connection of its own. */
export function subscribeRequest(peer, topic, { lastEventId } = {}) {
  const cursor = lastEventId === undefined ? '' : `Last-Event-ID: ${lastEventId}\r\n`;
  return `GET ${peer.subscribe(topic).path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n${cursor}\r\n`;
}

/** The bytes of a request for tokens; `phase` and `count` are those of servers/tokens/source.js. */
export function tokensRequest(query) {
  return `GET /?${new URLSearchParams(query)} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n`;
}

/** The bytes of a request that publishes, on a connection that is kept. The data is ASCII. */
export function publishRequest(peer, topic, data) {
  return post(peer, peer.publish(topic, data));
}

/** The same for many updates, where a peer takes them. */
export function publishManyRequest(peer, topic, list) {
  return post(peer, peer.publishMany(topic, list));
}

function post({ token }, { path, type, body }) {
  const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
  return `POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\n${authorization}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** Whether a peer has a program for what a measure asks for. */
export function canServe(peer, serves) {
  return serves === 'tokens' ? peer.tokens !== undefined : !peer.isTokensOnly;
}

function programOf({ file = '../dist/main.js', tokens }, serves) {
  return serves === 'tokens' ? tokens : [file];
}

function nodeCommand([file, ...given], cpuProfile) {
  const options = cpuProfile ? ['--cpu-prof', `--cpu-prof-dir=${cpuProfile}`] : [];
  return [process.execPath, ...options, fileURLToPath(new URL(file, import.meta.url)), ...given];
}

function signToken(payload, key) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const content = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(payload)}`;
  return `${content}.${createHmac('sha256', key).update(content).digest('base64url')}`;
}

async function accepts(port) {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await canConnect(port)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error('it does not accept connections');
}

function canConnect(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function versionOf(name) {
  const file = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : '';
}
