import { fileURLToPath } from 'node:url';
import { freePort } from './free-port.js';
import { type Nginx, startNginx } from './nginx.js';
import { type RedisServer, type RedisServerOptions, startRedis } from './redis-server.js';
import { type Exit, type Program, runProgram } from './run-program.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** A process of the built service, at the same port whenever it is started. */
export interface ClusterNode {
  readonly name: string;
  readonly port: number;
  readonly url: string;
  /** Undefined while it does not run. */
  readonly pid: number | undefined;
  /** How its processes have ended without being told to. */
  readonly crashes: readonly Exit[];
  /** Everything that its processes have written to standard error. */
  log(): string;
  /** Resolves when it listens. */
  start(): Promise<void>;
  /** Ends it in order. */
  stop(): Promise<Exit>;
  /** Ends it without a chance to do anything about it. */
  kill(): Promise<Exit>;
  /** It keeps its connections and does nothing, until it is resumed. */
  pause(): void;
  resume(): void;
}

/** Nodes behind nginx, over a Redis that they reach through a network that can fail. */
export interface Cluster {
  readonly redis: RedisServer;
  readonly network: TcpProxy;
  readonly nodes: readonly ClusterNode[];
  readonly nginx: Nginx;
  close(): Promise<void>;
}

export interface ClusterOptions {
  readonly nodes?: number;
  readonly redis?: RedisServerOptions;
  /** Settings of all nodes, `JWT_KEY` among them. */
  readonly env: Readonly<Record<string, string>>;
}

const clusters = new Set<Cluster>();

export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const redis = await startRedis(options.redis);
  const network = await startTcpProxy(redis.port);
  const env = {
    // All clients of the tests have the address of this machine.
    JOURNAL: `redis://127.0.0.1:${network.port}`,
    HOST: '127.0.0.1',
    NODE_ENV: 'production',
    LOG_FORMAT: 'text', // What a node logs is looked at on its standard error.
    TRUST_PROXY: '1',
    RATE_LIMITS: 'off',
    MAX_CONNECTIONS_PER_ADDRESS: '0',
    ...options.env,
  };
  const nodes = await Promise.all(
    Array.from(
      { length: options.nodes ?? 3 },
      async (_, index) => new LocalNode(`node ${index + 1}`, await freePort(), env),
    ),
  );
  let nginx: Nginx | undefined;
  const close = async (): Promise<void> => {
    await nginx?.close();
    await Promise.all(nodes.map((node) => node.kill()));
    await network.close();
    await redis.close();
  };
  try {
    await Promise.all(nodes.map((node) => node.start()));
    nginx = await startNginx(nodes.map(({ port }) => port));
  } catch (error) {
    await close();
    throw error;
  }
  const cluster: Cluster = {
    redis,
    network,
    nodes,
    nginx,
    async close() {
      clusters.delete(cluster);
      await close();
    },
  };
  clusters.add(cluster);
  return cluster;
}

/** For `afterEach`. */
export async function closeClusters(): Promise<void> {
  await Promise.all([...clusters].map((cluster) => cluster.close()));
}

class LocalNode implements ClusterNode {
  readonly crashes: Exit[] = [];
  readonly #env: Readonly<Record<string, string>>;
  #program: Program | undefined;
  #log = '';
  #isEnding = false;

  constructor(
    readonly name: string,
    readonly port: number,
    env: Readonly<Record<string, string>>,
  ) {
    this.#env = env;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get pid(): number | undefined {
    return this.#program?.pid;
  }

  log(): string {
    return this.#log + (this.#program?.stderr() ?? '');
  }

  async start(): Promise<void> {
    this.#isEnding = false;
    const program = await runProgram(MAIN, { env: { ...this.#env, PORT: `${this.port}` } });
    this.#program = program;
    program.exited.then((exit) => {
      if (!this.#isEnding) this.crashes.push(exit);
      this.#log += program.stderr();
      this.#program = undefined;
    });
  }

  stop(): Promise<Exit> {
    return this.#end('SIGTERM');
  }

  kill(): Promise<Exit> {
    return this.#end('SIGKILL');
  }

  pause(): void {
    this.#signal('SIGSTOP');
  }

  resume(): void {
    this.#signal('SIGCONT');
  }

  async #end(signal: NodeJS.Signals): Promise<Exit> {
    this.#isEnding = true;
    return (await this.#program?.kill(signal)) ?? { code: null, signal: null };
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#program) process.kill(this.#program.pid, signal);
  }
}
