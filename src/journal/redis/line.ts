/** One connection to Redis, on which every command ends within a time. */

import { createClient, ErrorReply } from 'redis';
import { AwayError, NoAnswerError, RefusedError } from './failures.js';
import type { Script } from './scripts.js';

export interface ClientOptions {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly socketPath?: string | undefined;
  readonly isTls: boolean;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly database?: number | undefined;
}

/** What Redis answers. */
export type Reply = string | number | null | readonly Reply[];

export type Client = Awaited<ReturnType<typeof openClient>>;

const CONNECT_TIMEOUT_MS = 2000;
/** So many commands wait for their answer on a connection. Beyond that it is as if there were none. */
const MAX_COMMANDS = 10_000;

/** Opens a connection that does not open itself again when it ends. @throws {RefusedError} its user is not let in. */
export async function openClient(options: ClientOptions) {
  const { host, port, socketPath, isTls, username, password, database } = options;
  const common = { connectTimeout: CONNECT_TIMEOUT_MS, reconnectStrategy: false } as const;
  const client = createClient({
    socket:
      socketPath === undefined
        ? { ...common, host: host ?? 'localhost', port: port ?? 6379, tls: isTls }
        : { ...common, path: socketPath, tls: false },
    RESP: 2,
    disableOfflineQueue: true,
    commandsQueueMaxLength: MAX_COMMANDS,
    maintNotifications: 'disabled',
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(database ? { database } : {}),
  } as Parameters<typeof createClient>[0]);
  client.on('error', () => {}); // What ends it is told to those who wait for an answer.
  const slow = setTimeout(() => client.destroy(), 2 * CONNECT_TIMEOUT_MS);
  try {
    await client.connect();
    return client;
  } catch (error) {
    if (client.isOpen) client.destroy();
    throw error instanceof ErrorReply ? new RefusedError(error.message) : error;
  } finally {
    clearTimeout(slow);
  }
}

/** How long an answer may take that Redis need not wait for. */
export const ANSWER_TIMEOUT_MS = 2500;

const LOOK_MS = 250;
const RETIRE_LOOK_MS = 20;
const QUIET_MS = 20_000;

export class Line {
  readonly #client: Client;
  readonly #onEnd: (reason: Error) => void;
  /** Of commands without an answer, when they are overdue; in the order in which they were sent. */
  readonly #pending = new Set<{ readonly overdueAt: number }>();
  readonly #watch: NodeJS.Timeout;
  #sentAt = performance.now();
  #end: Error | undefined;

  /** @param onEnd - is told once why the connection has ended, but not of `close`. */
  constructor(client: Client, onEnd: (reason: Error) => void) {
    this.#client = client;
    this.#onEnd = onEnd;
    this.#watch = setInterval(() => this.#look(), LOOK_MS).unref();
    client.on('error', (error) => this.#endWith(error as Error));
    client.on('end', () => this.#endWith(new Error('The connection has been closed')));
  }

  /**
   * Sends a command.
   *
   * @param timeoutMs - if there is no answer by then, the connection ends.
   * @throws {AwayError} {@link NoAnswerError} {@link RefusedError}
   */
  async send(args: readonly string[], timeoutMs = ANSWER_TIMEOUT_MS): Promise<Reply> {
    if (this.#end !== undefined) throw new AwayError(this.#end.message);
    if (this.#pending.size >= MAX_COMMANDS) {
      throw new AwayError(`${MAX_COMMANDS} commands wait for Redis already`);
    }
    this.#sentAt = performance.now();
    const call = { overdueAt: performance.now() + timeoutMs };
    this.#pending.add(call);
    try {
      return await this.#client.sendCommand<Reply>(args as string[]);
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof ErrorReply) throw new RefusedError(message);
      throw new NoAnswerError((this.#end ?? (error as Error)).message);
    } finally {
      this.#pending.delete(call);
    }
  }

  /** Runs a script, which Redis may have forgotten. */
  async run(script: Script, keys: readonly string[], args: readonly string[], timeoutMs?: number) {
    const rest = [`${keys.length}`, ...keys, ...args];
    try {
      return await this.send(['EVALSHA', script.digest, ...rest], timeoutMs);
    } catch (error) {
      if (!(error instanceof RefusedError) || error.reason !== 'NOSCRIPT') throw error;
      return await this.send(['EVAL', script.text, ...rest], timeoutMs);
    }
  }

  /** Closes it when what was sent has been answered, but soon. */
  retire(): void {
    const latest = performance.now() + LOOK_MS;
    const closing = setInterval(() => {
      if (this.#pending.size > 0 && performance.now() < latest) return;
      clearInterval(closing);
      this.close();
    }, RETIRE_LOOK_MS).unref();
  }

  close(): void {
    this.#endWith(new Error('The connection has been closed'), () => {});
  }

  #look(): void {
    // Servers and networks close connections over which nothing goes.
    if (performance.now() - this.#sentAt > QUIET_MS) this.send(['PING']).catch(() => {});
    for (const { overdueAt } of this.#pending) {
      if (overdueAt < performance.now()) {
        this.#endWith(new Error('It has not answered in time'));
        return;
      }
    }
  }

  #endWith(reason: Error, tell = this.#onEnd): void {
    if (this.#end !== undefined) return;
    this.#end = reason;
    clearInterval(this.#watch);
    if (this.#client.isOpen) this.#client.destroy();
    tell(reason);
  }
}
