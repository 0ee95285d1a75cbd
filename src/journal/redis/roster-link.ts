/** The roster's connection to Redis, beside those of the journal, which may have much to send. */

import type { Address } from './address.js';
import { RefusedError } from './failures.js';
import { Line, openClient, type Reply } from './line.js';
import type { Script } from './scripts.js';

/** So many nodes of a cluster may say, one after the other, that another one has the keys. */
const MAX_MOVES = 3;

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
    for (let moves = 0; ; moves++) {
      if (this.#isClosed) throw new Error('The connection has been closed');
      this.#line ??= this.#open();
      const line = await this.#line;
      try {
        return await line.run(script, keys, args);
      } catch (error) {
        if (!(error instanceof RefusedError && error.isOfConnection)) throw error;
        const isMoved = this.#leave(line, error);
        if (!isMoved || moves >= MAX_MOVES) throw error;
      }
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

  /** Another server may do better. Returns whether this one has said which. */
  #leave(line: Line, { movedTo }: RefusedError): boolean {
    this.#line = undefined;
    line.close();
    if (movedTo === undefined || !this.#address.isCluster) return false;
    this.#address.moved(movedTo);
    return true;
  }
}
