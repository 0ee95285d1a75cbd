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

/** A log that knows what it writes: whoever would do much for an entry asks first. */
export interface LeveledLog extends Log {
  /** Whether it writes entries of a level. */
  writes(level: LogLevel): boolean;
}

/** A log for those who have none: writes the messages to standard error. */
export const toConsole: Log = ({ message }) => console.error(message);

/** How many lines of one event are written at most: one in 10 seconds, unless it is said. */
export interface SummedLogOptions {
  readonly everyMs?: number;
  /** How many are written within this time before the others are counted. */
  readonly lines?: number;
}

/** A log that keeps to itself what it counts, until it is flushed. */
export interface SummedLog extends Log {
  /** Writes what has been counted and not yet told: for the end of the process. */
  flush(): void;
}

interface Counted {
  readonly timer: NodeJS.Timeout;
  /** How many more are written at once in this time. */
  lines: number;
  count: number;
  example: LogEntry;
}

/**
 * A log of what clients can cause as often as they like. The first entry of an event is written at once, or the first
 * so many. Those that follow within `everyMs` are counted, and told in one entry at its end: the last of them as an
 * example, and how many there were.
 */
export function summed(
  log: Log,
  { everyMs = 10_000, lines = 1 }: SummedLogOptions = {},
): SummedLog {
  const events = new Map<string, Counted>();

  function add(entry: LogEntry): void {
    const { event } = entry;
    const known = events.get(event);
    if (known?.lines === 0) {
      known.count += 1;
      known.example = entry;
      return;
    }
    log(entry);
    if (known !== undefined) {
      known.lines -= 1;
      return;
    }
    const timer = setInterval(() => sumUp(event), everyMs).unref();
    events.set(event, { timer, lines: lines - 1, count: 0, example: entry });
  }

  function sumUp(event: string): void {
    const known = events.get(event);
    if (known === undefined) return;
    const { timer, count, example } = known;
    const isQuiet = count === 0 && known.lines === lines - 1;
    // The sum is one of the lines.
    known.lines = lines - 1;
    if (count === 0) {
      if (!isQuiet) return;
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
