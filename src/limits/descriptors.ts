import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { Log } from '../log.js';

/** Descriptors that are left for files, the journal's and those of the process. */
const FOR_FILES = 48;
/** Connections that are answered beyond the most that are served, even where descriptors are few. */
const MIN_SURPLUS = 16;
const MAX_SURPLUS = 1_024;
/** With fewer than these left, no more connections are served. */
const SCARCE = 8;
const PROBE_MS = 1_000;

/** How many descriptors this process may have open (`ulimit -n`); undefined where nothing says so. */
export function readDescriptorLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files +(\d+)/m.exec(limits) ?? [];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined; // Not on Linux.
  }
}

/** How many connections are served, and how many more are answered that they are too many. */
export function fitConnections(
  wanted: number,
  descriptors = Number.POSITIVE_INFINITY,
): { readonly max: number; readonly surplus: number } {
  const room = Math.max(2, descriptors - FOR_FILES);
  const max = Math.min(wanted, Math.max(1, room - MIN_SURPLUS));
  const surplus = Math.min(Math.max(128, Math.floor(max / 8)), MAX_SURPLUS, room - max);
  return { max, surplus };
}

/**
 * Tells when descriptors run out although connections are limited, since other parts of the process take some
 * too. The system gives out the lowest number that is free: so opening a file once a second says how many are
 * taken at least, or that there is none.
 */
export class DescriptorWatch {
  #isScarce = false;
  readonly #limit: number;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;

  constructor(limit: number, log: Log) {
    this.#limit = limit;
    this.#log = log;
    this.#timer = setInterval(() => this.#probe(), PROBE_MS).unref();
  }

  get isScarce(): boolean {
    return this.#isScarce;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #probe(): Promise<void> {
    try {
      const file = await open('/dev/null');
      this.#isScarce = file.fd >= this.#limit - SCARCE;
      await file.close();
      if (this.#isScarce) {
        this.#log({
          level: 'error',
          event: 'descriptors-scarce',
          message: `File descriptors are nearly all in use (ulimit -n is ${this.#limit}): new connections are answered 503.`,
          limit: this.#limit,
        });
      }
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EMFILE' && code !== 'ENFILE') return;
      this.#isScarce = true;
      this.#log({
        level: 'error',
        event: 'descriptors-scarce',
        message: `File descriptors are all in use (${code}; ulimit -n is ${this.#limit}): the system closes new connections.`,
        limit: this.#limit,
      });
    }
  }
}
