/** The roster's connection to Redis, beside those of the journal, which may have much to send. */

import type { Address } from './address.js';
import { RefusedError } from './failures.js';
import { Line, openClient, type Reply } from './line.js';
import type { Script } from './scripts.js';

/**
 * Runs scripts. Each ends within some seconds, whatever happens to the server. If the connection has ended, the next
 * script opens another one: so whoever runs them says how often that is tried.
 */
export class RosterLink {
  readonly #address: Address;
  #line: Promise<Line> | undefined;
  #isClosed = false;

  constructor(address: Address) {
    this.#address = address;
  }

  /** @throws {Error} if a script is refused, or not answered in time; then it may have run all the same. */
  async run(script: Script, keys: readonly string[], args: readonly string[]): Promise<Reply> {
    if (this.#isClosed) throw new Error('The connection has been closed');
    this.#line ??= this.#open();
    const line = await this.#line;
    try {
      return await line.run(script, keys, args);
    } catch (error) {
      if (error instanceof RefusedError && error.isOfConnection) this.#leave(line, error);
      throw error;
    }
  }

  /** Lets go of it. What is under way fails. */
  close(): void {
    this.#isClosed = true;
    this.#line?.then((line) => line.close()).catch(() => undefined);
  }

  async #open(): Promise<Line> {
    try {
      const client = await openClient(await this.#address.resolve());
      return new Line(client, () => {
        this.#line = undefined;
      });
    } catch (error) {
      this.#line = undefined;
      throw error;
    }
  }

  /** Another server has what is asked for: the next connection finds it. */
  #leave(line: Line, { movedTo }: RefusedError): void {
    if (movedTo !== undefined) this.#address.moved(movedTo);
    this.#line = undefined;
    line.close();
  }
}
