import { setTimeout as wait } from 'node:timers/promises';
import {
  BEGINNING,
  comparePositions,
  type Entry,
  type Journal,
  JournalError,
} from '../journal/journal.js';
import type { Log } from '../log.js';
import { MAX_MESSAGES } from './message-list.js';
import { CHAT_TOPIC } from './post-queue.js';

/** How long to wait after messages could not be read. */
const RETRY_MS = 1_000;

/**
 * Calls back with the newest messages held, and then with every new one, in order and each once. Where the place in the
 * journal is lost, with the newest of those that were missed: as many as the list holds.
 *
 * @param log told if they cannot be read; it is tried again.
 * @throws {JournalError}
 */
export async function followMessages(
  journal: Journal,
  receive: (entries: readonly Entry[]) => void,
  log: Log,
): Promise<void> {
  let last = BEGINNING;
  let isMissing = false;
  /** What was followed while older messages are read. */
  let waiting: Entry[] | undefined;

  function tell(entries: readonly Entry[]): void {
    const next = entries.filter(({ position }) => comparePositions(position, last) > 0);
    last = next.at(-1)?.position ?? last;
    if (next.length > 0) receive(next);
  }

  async function tellNewest(): Promise<void> {
    const [held = []] = await journal.newest([CHAT_TOPIC], { count: MAX_MESSAGES });
    tell(held);
  }

  async function catchUp(): Promise<void> {
    waiting = [];
    for (let isLogged = false; isMissing; ) {
      isMissing = false;
      try {
        await tellNewest();
      } catch (error) {
        if (error instanceof JournalError && error.code === 'ERR_JOURNAL_CLOSED') return;
        if (!isLogged) {
          const message = `The chat cannot read the messages that it has missed. ${String(error)}`;
          log({ level: 'error', event: 'chat-unreadable', message, error });
        }
        isLogged = true;
        isMissing = true;
        await wait(RETRY_MS, undefined, { ref: false });
      }
    }
    const followed = waiting;
    waiting = undefined;
    tell(followed);
  }

  await tellNewest();
  await journal.follow(
    {
      entries(entries) {
        // The list holds no more, so that a flood is not kept in memory meanwhile.
        if (waiting) waiting = [...waiting, ...entries].slice(-MAX_MESSAGES);
        else tell(entries);
      },
      lost() {
        isMissing = true;
        if (!waiting) void catchUp();
      },
    },
    last,
  );
}
