import { createHash } from 'node:crypto';
import { createClient } from 'redis';

/** How long a server may take to accept a connection, and for a command. */
const TIMEOUT_MS = 3_000;
/** Commands that wait for their answers at most. */
const MAX_COMMANDS = 1_000;

/**
 * A connection to a server, for scripts. Each ends within some seconds, whatever happens to the server. If the connection
 * has ended, the next script opens another one: so whoever runs them says how often that is tried.
 */
export class RedisLink {
  readonly #url: string;
  #client: Promise<Client> | undefined;
  #isClosed = false;

  constructor(url: string) {
    this.#url = url;
  }

  /** @throws {Error} if a script is refused, or not answered in time; then it may have run all the same. */
  async run(script: string, keys: readonly string[], args: readonly string[]): Promise<unknown> {
    if (this.#isClosed) throw new Error('The connection is closed');
    this.#client ??= this.#connect();
    const client = await this.#client;
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.#send(client, ['EVALSHA', digestOf(script), ...rest]);
    } catch (error) {
      if (!String(error).includes('NOSCRIPT')) throw error;
      return this.#send(client, ['EVAL', script, ...rest]);
    }
  }

  /** Lets go of it. What is under way fails. */
  close(): void {
    this.#isClosed = true;
    this.#client?.then((client) => client.destroy()).catch(() => undefined);
  }

  async #connect(): Promise<Client> {
    const client: Client = createClient({
      url: this.#url,
      disableOfflineQueue: true,
      commandsQueueMaxLength: MAX_COMMANDS,
      socket: { connectTimeout: TIMEOUT_MS, reconnectStrategy: false },
    });
    let isOpen = false;
    const end = () => {
      if (isOpen) this.#client = undefined;
      isOpen = false;
    };
    // Which error it is, each command tells.
    client.on('error', end);
    client.on('end', end);
    try {
      // Beyond the connection, which has a limit of its own, this is what a server that stands still never answers.
      await within(TIMEOUT_MS, client.connect());
      isOpen = true;
      return client;
    } catch (error) {
      this.#client = undefined;
      if (client.isOpen) client.destroy();
      throw error;
    }
  }

  async #send(client: Client, command: readonly string[]): Promise<unknown> {
    try {
      return await within(TIMEOUT_MS, client.sendCommand(command));
    } catch (error) {
      // Without an answer it may stay open for a quarter of an hour. Another one is not asked for more.
      if (error instanceof NoAnswerError && client.isOpen) client.destroy();
      throw error;
    }
  }
}

/** What of a client is used here. */
interface Client {
  readonly isOpen: boolean;
  connect(): Promise<unknown>;
  sendCommand(command: readonly string[]): Promise<unknown>;
  destroy(): void;
  on(event: 'error' | 'end', listener: () => void): unknown;
}

class NoAnswerError extends Error {}

async function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new NoAnswerError(`The server has not answered for ${timeoutMs / 1_000} s`));
    }, timeoutMs);
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

const digests = new Map<string, string>();

/** What the server calls a script that it knows. */
function digestOf(script: string): string {
  let digest = digests.get(script);
  if (digest === undefined) {
    digest = createHash('sha1').update(script).digest('hex');
    digests.set(script, digest);
  }
  return digest;
}
