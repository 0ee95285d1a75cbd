import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from 'redis';
import { findRedisServer } from '../../scripts/find-redis-server.js';
import { endWithThis } from './end-with-this.js';
import { freePort } from './free-port.js';

export interface RedisServerOptions {
  /** When what is written is on disk. `none`: nothing outlives the process. Default: `always`. */
  readonly persistence?: 'always' | 'everysec' | 'none';
  /** More of its configuration: `{ maxmemory: '10mb' }`. */
  readonly config?: Readonly<Record<string, string>>;
}

/** A Redis (or Valkey) server in a process, on a free port and in a directory of its own. */
export interface RedisServer {
  readonly port: number;
  readonly url: string;
  /** A socket of the file system that it listens on as well. */
  readonly socketPath: string;
  readonly directory: string;
  /** Everything that it has printed so far. */
  log(): string;
  /** Ends it in order. */
  stop(): Promise<void>;
  /** Ends it without a chance to do anything about it. */
  kill(): Promise<void>;
  /** It keeps its connections and answers nothing, until it is resumed. */
  pause(): void;
  resume(): void;
  /** Starts it again on the same port and directory, and waits until it has loaded its data. */
  start(more?: Readonly<Record<string, string>>): Promise<void>;
  /** Starts it again, and waits until it listens: it may be loading its data still. */
  startLoading(more?: Readonly<Record<string, string>>): Promise<void>;
  /** Removes what it has stored. It must not be running. */
  wipe(): Promise<void>;
  /** Ends it and removes its directory. */
  close(): Promise<void>;
}

export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const directory = await mkdtemp(join(tmpdir(), 'redis-'));
  // Another process may take the port between the question for a free one and the start.
  for (let attempt = 1; ; attempt++) {
    const server = new LocalRedis(directory, await freePort(), options);
    try {
      await server.start();
      return server;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

class LocalRedis implements RedisServer {
  readonly directory: string;
  readonly port: number;
  readonly #options: RedisServerOptions;
  #child: ChildProcess | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  #log = '';

  constructor(directory: string, port: number, options: RedisServerOptions) {
    this.directory = directory;
    this.port = port;
    this.#options = options;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get socketPath(): string {
    return join(this.directory, 'redis.sock');
  }

  log(): string {
    return this.#log;
  }

  start(more?: Readonly<Record<string, string>>): Promise<void> {
    return this.#start(/Ready to accept connections/, more);
  }

  startLoading(more?: Readonly<Record<string, string>>): Promise<void> {
    return this.#start(/Server initialized/, more);
  }

  async stop(): Promise<void> {
    this.resume();
    this.#child?.kill('SIGTERM');
    await this.#ended;
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  async wipe(): Promise<void> {
    for (const name of await readdir(this.directory)) {
      await rm(join(this.directory, name), { recursive: true });
    }
  }

  async close(): Promise<void> {
    await this.kill();
    await rm(this.directory, { recursive: true, force: true });
  }

  async #start(listens: RegExp, more: Readonly<Record<string, string>> = {}): Promise<void> {
    const { persistence = 'always', config = {} } = this.#options;
    const settings = {
      port: `${this.port}`,
      bind: '127.0.0.1',
      unixsocket: this.socketPath,
      dir: this.directory,
      save: '',
      appendonly: persistence === 'none' ? 'no' : 'yes',
      ...(persistence === 'none' ? {} : { appendfsync: persistence }),
      ...config,
      ...more,
    };
    const path = findRedisServer();
    if (path === undefined) throw new Error('There is no redis-server: see npm test.');
    const args = Object.entries(settings).flatMap(([name, value]) => [
      `--${name}`,
      ...value.split(' '),
    ]);
    const child = spawn(path, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    endWithThis(child, 'KILL');
    this.#child = child;
    this.#log = '';
    this.#ended = once(child, 'close').then(() => {
      if (this.#child === child) this.#child = undefined;
    });
    const listening = new Promise<void>((resolve) => {
      const note = (bytes: Buffer): void => {
        this.#log += bytes.toString();
        if (listens.test(this.#log)) resolve();
      };
      child.stdout?.on('data', note);
      child.stderr?.on('data', note);
    });
    const failed = this.#ended.then(() => {
      throw new Error(`The Redis server has not started:\n${this.#log}`);
    });
    await Promise.race([listening, failed]);
  }
}

/** Sends a command to a server itself. */
export async function ask(url: string, ...command: string[]): Promise<unknown> {
  const client = createClient({ url, socket: { reconnectStrategy: false } });
  client.on('error', () => {});
  await client.connect();
  try {
    return await client.sendCommand(command);
  } finally {
    client.destroy();
  }
}
