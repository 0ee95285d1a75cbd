/**
 * Tokens as a language model makes them, for all servers of the measure alike: an async generator for each client, 50
 * tokens a second. One timer for all generators stands for the sockets that tokens would come from, and wakes those
 * that are due, every millisecond. A token carries its number and when it was due, by the clock of the machine.
 */
import { parseArgs } from 'node:util';
import { machineMs } from '../../load/machine-clock.js';

const PERIOD_MS = 20;
const FIRST_AFTER_MS = 5;

/** Those who wait, by the millisecond of the period. */
const waiting = Array.from({ length: PERIOD_MS }, () => []);
/** The last millisecond whose tokens are due. */
let reached = Math.floor(machineMs());

/**
 * The first token comes after a moment: who has asked waits by then, and does nothing else. The others come at the
 * client's own millisecond of each period.
 */
export async function* tokens(requestUrl) {
  const query = new URLSearchParams(requestUrl.slice(requestUrl.indexOf('?')));
  const phase = Number(query.get('phase') ?? 0);
  const count = Number(query.get('count') ?? Number.POSITIVE_INFINITY);
  await until(reached + FIRST_AFTER_MS);
  yield token(0, machineMs());
  let due = Math.ceil((reached + 1 - phase) / PERIOD_MS) * PERIOD_MS + phase;
  for (let number = 1; number < count; number++) {
    if (due > reached) await until(due);
    yield token(number, due);
    due += PERIOD_MS;
  }
}

/** Listens on a free port and says which. What it is given on the command line are the handler's options. */
export function listen(server) {
  server.listen(0, '127.0.0.1', () => console.log(`listens on port ${server.address().port}`));
  process.on('SIGTERM', () => process.exit());
}

/** How a server is to send, where it has several ways. */
export function sendsBy() {
  const { positionals } = parseArgs({ allowPositionals: true });
  return positionals[0];
}

/** Waits for a millisecond of this period or the next. */
function until(due) {
  return new Promise((resolve) => waiting[due % PERIOD_MS].push(resolve));
}

function token(number, dueMs) {
  const microseconds = Math.round(dueMs * 1_000);
  return `~${String(number).padStart(9, '0')}-${String(microseconds).padStart(16, '0')}`;
}

function wake() {
  const now = Math.floor(machineMs());
  while (reached < now) {
    reached += 1;
    const due = waiting[reached % PERIOD_MS];
    waiting[reached % PERIOD_MS] = [];
    for (const resolve of due) resolve();
  }
  setTimeout(wake, 1);
}

wake();
