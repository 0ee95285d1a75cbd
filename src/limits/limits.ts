import type { Server } from 'node:http';
import type { Log } from '../log.js';
import type { TrustProxy } from './client-address.js';
import { Connections } from './connections.js';
import { DescriptorWatch, fitConnections, readDescriptorLimit } from './descriptors.js';
import { formatRate, type Rate, RateLimiter } from './rate.js';
import { LimitError } from './refusal.js';

const RATE_NAMES = ['RATE_REQUESTS', 'RATE_STREAMS', 'RATE_PUBLISHES', 'RATE_CHAT'] as const;
export type RateName = (typeof RATE_NAMES)[number];

/** All that a {@link LimitError} may name. */
const LIMITS = [
  ...RATE_NAMES,
  'MAX_CONNECTIONS',
  'MAX_CONNECTIONS_PER_ADDRESS',
  'MAX_CONNECTIONS_PER_SUBJECT',
  'MAX_TEMPLATE_COST',
];

/** The settings of these names. A rate that is undefined is unlimited. */
export interface LimitSettings extends Readonly<Record<RateName, Rate | undefined>> {
  readonly TRUST_PROXY: TrustProxy;
  readonly MAX_CONNECTIONS: number;
  readonly MAX_CONNECTIONS_PER_ADDRESS: number;
  readonly MAX_CONNECTIONS_PER_SUBJECT: number;
  readonly RATE_LIMITS: boolean;
}

/** What one client, one address and one token may cost, and all of them together. */
export class Limits {
  readonly connections: Connections;
  /** What the operator should be told at the start, if anything. */
  readonly notice: string | undefined;
  readonly #rates = new Map<RateName, RateLimiter>();
  readonly #descriptorLimit: number | undefined;
  readonly #refused = Object.fromEntries(LIMITS.map((limit) => [limit.toLowerCase(), 0]));
  readonly #log: Log;

  constructor(
    settings: LimitSettings,
    log: Log,
    descriptorLimit: number | undefined = readDescriptorLimit(),
  ) {
    this.#log = log;
    const wanted = settings.MAX_CONNECTIONS;
    const fitting = fitConnections(wanted, descriptorLimit);
    if (fitting.max < wanted) {
      this.notice = `The system allows this process ${descriptorLimit} open files (ulimit -n), so it takes ${fitting.max} connections instead of MAX_CONNECTIONS=${wanted}.`;
    }
    this.connections = new Connections(
      {
        ...fitting,
        trustProxy: settings.TRUST_PROXY,
        maxPerAddress: settings.MAX_CONNECTIONS_PER_ADDRESS,
        maxPerSubject: settings.MAX_CONNECTIONS_PER_SUBJECT,
      },
      log,
    );
    for (const name of settings.RATE_LIMITS ? RATE_NAMES : []) {
      const rate = settings[name];
      if (rate !== undefined) this.#rates.set(name, new RateLimiter(rate));
    }
    this.#descriptorLimit = descriptorLimit;
  }

  /** Limits the connections of a server, from now on until it has closed. */
  watch(server: Server): void {
    this.connections.watch(server);
    const limit = this.#descriptorLimit;
    if (limit === undefined) return;
    server.once('listening', () => {
      const descriptors = new DescriptorWatch(limit, this.#log);
      this.connections.isScarce = () => descriptors.isScarce;
      server.once('close', () => descriptors.stop());
    });
  }

  /** Whether descriptors are so few that no further connection is served. */
  get hasFewDescriptors(): boolean {
    return this.connections.isScarce();
  }

  /** How many requests were refused, by the limit in small letters. */
  get refused(): Readonly<Record<string, number>> {
    return this.#refused;
  }

  hasRate(name: RateName): boolean {
    return this.#rates.has(name);
  }

  /**
   * Takes one of what a rate allows under a key.
   *
   * @param key undefined where limits do not count.
   * @throws {LimitError} if there is none left.
   */
  take(name: RateName, key: string | undefined): void {
    const limiter = this.#rates.get(name);
    if (limiter === undefined || key === undefined) return;
    const waitMs = limiter.take(key);
    if (waitMs === 0) return;
    throw new LimitError(
      429,
      name,
      `${SAID[name]} (${name}: ${formatRate(limiter.rate)}).`,
      waitMs / 1_000,
    );
  }

  /** Takes more of it, which may leave less than none: then whoever comes next has to wait. */
  charge(name: RateName, key: string | undefined, count: number): void {
    if (key !== undefined) this.#rates.get(name)?.charge(key, count);
  }

  /** Puts one back that {@link take} has taken. */
  giveBack(name: RateName, key: string | undefined): void {
    if (key !== undefined) this.#rates.get(name)?.giveBack(key);
  }

  /** Counts a refusal, and tells the operator of it, many of them in one line. */
  tell(address: string, { limit, message }: LimitError): void {
    const name = limit.toLowerCase();
    this.#refused[name] = (this.#refused[name] ?? 0) + 1;
    this.#log({
      level: 'warn',
      event: `refused-${limit}`,
      message: `${address} is refused: ${message}`,
      client: address,
      limit,
    });
  }
}

const SAID: Readonly<Record<RateName, string>> = {
  RATE_REQUESTS: 'Too many requests come from this address',
  RATE_STREAMS: 'Too many event streams are opened from this address',
  RATE_PUBLISHES: 'Too many updates are published with this token',
  RATE_CHAT: 'Too many messages come from this address',
};
