import type { Middleware } from 'koa';
import { JournalError } from '../journal/journal.js';

/** How long an answer of the journal holds: those who ask in the meantime cost it nothing. */
const HOLDS_MS = 1_000;
/** A journal that has not answered by then is as good as away. Whoever asks waits for longer. */
const MAX_WAIT_MS = 2_000;

/**
 * Answers whether updates can be published, else 503 and why not. Event streams that are open go on in both cases.
 *
 * @param ping resolves if the journal can be appended to; rejects with the reason if it cannot.
 */
export function health(ping: () => Promise<void>): Middleware {
  let latest: Promise<void> | undefined;
  const forget = () => {
    latest = undefined;
  };
  const forgetSoon = () => {
    setTimeout(forget, HOLDS_MS).unref();
  };
  return async function health(ctx) {
    // A journal that hangs is not asked again before it has answered.
    if (latest === undefined) {
      latest = ping();
      latest.then(forgetSoon, forgetSoon);
    }
    ctx.set('Cache-Control', 'no-store');
    await inTime(latest);
    ctx.body = { status: 'ok' };
  };
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
