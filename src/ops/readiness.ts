import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { JournalError } from '../journal/journal.js';

/** For what reasons a process cannot serve. */
export const READINESS_REASONS = ['journal', 'draining', 'event-loop', 'descriptors'] as const;
export type ReadinessReason = (typeof READINESS_REASONS)[number];

/** Why a process cannot serve. */
export interface NotReady {
  /** A name for programs. */
  readonly reason: ReadinessReason;
  /** The same as a sentence, for the operator. */
  readonly detail: string;
  /** What the log is told, if there is an error. */
  readonly error?: unknown;
}

/** What readiness is found out from. */
export interface ReadinessParts {
  /** Resolves if the journal takes and gives back; rejects with the reason if it does not. */
  readonly ping: () => Promise<void>;
  /** Whether the process has begun to stop. */
  readonly isDraining: () => boolean;
  /** How long the event loop was stalled lately, if it was. */
  readonly stalledMs: () => number | undefined;
  /** Whether file descriptors are nearly all in use. */
  readonly hasFewDescriptors: () => boolean;
}

const NONE: ReadonlySet<ReadinessReason> = new Set();

/** A journal that has not answered by then is as good as away. Whoever asks waits for longer. */
const MAX_WAIT_MS = 2_000;

/**
 * Looks at the journal begin no sooner after each other. Each is a write, of 64 KiB with `lmdb:`, and strangers may ask: so
 * whatever they do, it costs four a second.
 */
const LOOK_EVERY_MS = 250;

/** Whether a process can serve. */
export class Readiness {
  readonly #parts: ReadinessParts;
  #look: Promise<void> | undefined;
  #lookedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: ReadinessParts) {
    this.#parts = parts;
  }

  /**
   * Why this process cannot serve now; empty if it can. The journal is asked each time: whoever asks while it is being
   * asked, or about to be, shares that answer, and nobody gets one that was given before.
   *
   * @param excluded reasons that do not count, and are not looked at.
   */
  async reasons(excluded: ReadonlySet<ReadinessReason> = NONE): Promise<readonly NotReady[]> {
    const { isDraining, stalledMs, hasFewDescriptors } = this.#parts;
    // Nothing else matters any more, and the journal may have been closed.
    if (!excluded.has('draining') && isDraining())
      return [{ reason: 'draining', detail: 'The service is stopping.' }];
    const reasons: NotReady[] = [];
    const stalled = excluded.has('event-loop') ? undefined : stalledMs();
    if (stalled !== undefined) {
      const detail = `The event loop was stalled for ${(stalled / 1_000).toFixed(1)} seconds.`;
      reasons.push({ reason: 'event-loop', detail });
    }
    if (!excluded.has('descriptors') && hasFewDescriptors()) {
      const detail = 'File descriptors are nearly all in use: raise ulimit -n.';
      reasons.push({ reason: 'descriptors', detail });
    }
    if (excluded.has('journal')) return reasons;
    try {
      this.#look ??= this.#lookAtJournal();
      await inTime(this.#look);
    } catch (error) {
      reasons.unshift({ reason: 'journal', detail: (error as Error).message, error });
    }
    return reasons;
  }

  /** A journal that hangs is not asked again before it has answered. */
  async #lookAtJournal(): Promise<void> {
    try {
      const waitMs = this.#lookedAt + LOOK_EVERY_MS - performance.now();
      if (waitMs > 0) await delay(waitMs);
      this.#lookedAt = performance.now();
      await this.#parts.ping();
    } finally {
      this.#look = undefined;
    }
  }
}

/** @throws {JournalError} ERR_JOURNAL_UNAVAILABLE, also if there is no answer in time. */
function inTime(answer: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      const message = `The journal has not answered in ${MAX_WAIT_MS / 1_000} seconds.`;
      reject(new JournalError('ERR_JOURNAL_UNAVAILABLE', message));
    }, MAX_WAIT_MS);
    answer.then(resolve, reject).finally(() => clearTimeout(late));
  });
}
