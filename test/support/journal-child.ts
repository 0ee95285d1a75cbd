/**
 * A process with a journal, for tests that must not have it in theirs: it does what the lines of its
 * standard input say, `[call, method, ...arguments]`, and answers each with a line of its own.
 */
import { createInterface } from 'node:readline';
import { openJournal } from '../../src/journal/open.js';

const [, , url = '', sync = 'disk'] = process.argv;

const answer = (call: number, outcome: object): void => {
  process.stdout.write(`${JSON.stringify({ call, ...outcome })}\n`);
};

const attempt = async (call: number, act: () => Promise<unknown>): Promise<void> => {
  try {
    answer(call, { value: await act() });
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    answer(call, { error: { code, message } });
  }
};

const opening = openJournal(url, {
  sync: sync as 'disk' | 'os',
  maxUpdates: 1_000_000,
  maxAgeMs: 0,
});
await attempt(0, async () => void (await opening));
const journal = await opening.catch(() => process.exit());

createInterface({ input: process.stdin }).on('line', (line) => {
  const [call, method, ...args] = JSON.parse(line) as [number, keyof typeof journal, ...never[]];
  attempt(call, async () => (journal[method] as (...args: never[]) => unknown)(...args));
});
