/** How much an entry of the log matters. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Something that an operator should know. What is not named here is what it is about, such as `client`. */
export interface LogEntry {
  /** How much it matters. */
  readonly level: LogLevel;
  /** What has happened: a name from the code, never of a client's choice. What is alike has the same one. */
  readonly event: string;
  /** The same as a sentence, with what it is about. */
  readonly message: string;
  /** The error that it is about. */
  readonly error?: unknown;
  readonly [field: string]: unknown;
}

/** Where all parts of the service tell what an operator should know. It does not throw. */
export type Log = (entry: LogEntry) => void;

/** A log for those who have none: writes the messages to standard error. */
export const toConsole: Log = ({ message }) => console.error(message);

/** How often a line of one event is written at most: every 10 seconds, unless it is said. */
export interface SummedLogOptions {
  readonly everyMs?: number;
}

/** A log that keeps to itself what it counts, until it is flushed. */
export interface SummedLog extends Log {
  /** Writes what has been counted and not yet told: for the end of the process. */
  flush(): void;
}

interface Counted {
  readonly timer: NodeJS.Timeout;
  count: number;
  example: LogEntry;
}

/**
 * A log of what clients can cause as often as they like. The first entry of an event is written at once. Those that
 * follow within `everyMs` are counted, and told in one entry at its end: the last of them as an example, and how
 * many there were.
 */
export function summed(log: Log, { everyMs = 10_000 }: SummedLogOptions = {}): SummedLog {
  const events = new Map<string, Counted>();

  function add(entry: LogEntry): void {
    const { event } = entry;
    const known = events.get(event);
    if (known !== undefined) {
      known.count += 1;
      known.example = entry;
      return;
    }
    log(entry);
    const timer = setInterval(() => sumUp(event), everyMs).unref();
    events.set(event, { timer, count: 0, example: entry });
  }

  function sumUp(event: string): void {
    const known = events.get(event);
    if (known === undefined) return;
    const { timer, count, example } = known;
    if (count === 0) {
      // A quiet time has passed: the next one is news again.
      clearInterval(timer);
      events.delete(event);
      return;
    }
    log(count === 1 ? example : sumOf(example, count, everyMs));
    known.count = 0;
  }

  function flush(): void {
    for (const [event, { timer }] of events) {
      sumUp(event);
      clearInterval(timer);
    }
    events.clear();
  }

  return Object.assign(add, { flush });
}

function sumOf(example: LogEntry, count: number, everyMs: number): LogEntry {
  const seconds = Math.round(everyMs / 1_000);
  return {
    ...example,
    message: `${example.message} (one of ${count} like it in ${seconds} s)`,
    count,
  };
}
