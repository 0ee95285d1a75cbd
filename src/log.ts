/** Writes a line for the operator, and the error if there is one. */
export type Log = (message: string, error?: unknown) => void;

export interface SummedLogOptions {
  /** How often a line of one kind is written at most. Default: every 10 seconds. */
  readonly everyMs?: number;
}

/**
 * A log of what clients can cause as often as they like. The first line of a kind is written at once. Those that
 * follow within `everyMs` are counted, and told in one line at its end: the last of them as an example, and how
 * many there were.
 */
export class SummedLog {
  readonly #log: Log;
  readonly #everyMs: number;
  readonly #kinds = new Map<string, { timer: NodeJS.Timeout; count: number; example: string }>();

  constructor(log: Log, { everyMs = 10_000 }: SummedLogOptions = {}) {
    this.#log = log;
    this.#everyMs = everyMs;
  }

  /** @param kind what is counted together: a name from the code, never of a client's choice. */
  add(kind: string, message: string): void {
    const known = this.#kinds.get(kind);
    if (known !== undefined) {
      known.count += 1;
      known.example = message;
      return;
    }
    this.#log(message);
    const timer = setInterval(() => this.#sumUp(kind), this.#everyMs).unref();
    this.#kinds.set(kind, { timer, count: 0, example: '' });
  }

  /** Writes what has been counted and not yet told: for the end of the process. */
  flush(): void {
    for (const [kind, { timer }] of this.#kinds) {
      this.#sumUp(kind);
      clearInterval(timer);
    }
    this.#kinds.clear();
  }

  #sumUp(kind: string): void {
    const known = this.#kinds.get(kind);
    if (known === undefined) return;
    const { timer, count, example } = known;
    if (count === 0) {
      // A quiet time has passed: the next one is news again.
      clearInterval(timer);
      this.#kinds.delete(kind);
      return;
    }
    const seconds = Math.round(this.#everyMs / 1_000);
    this.#log(count === 1 ? example : `${example} (one of ${count} like it in ${seconds} s)`);
    known.count = 0;
  }
}
