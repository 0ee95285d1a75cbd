/** What the cases do with journals. */

import { AssertionError } from 'node:assert';
import { setTimeout as wait } from 'node:timers/promises';
import type {
  Ending,
  Entry,
  Follower,
  Following,
  Journal,
  NewestOptions,
  Position,
  ReadRange,
  Update,
} from '../journal.js';

export const NO_LIMIT = { maxEntries: 1_000_000, maxLength: Number.MAX_SAFE_INTEGER };

/** An update under the topic `t`, or as said. */
export function update(data: string, rest: Partial<Update> = {}): Update {
  return { topics: ['t'], data, private: false, ...rest };
}

export async function readAll(journal: Journal, range: Partial<ReadRange> = {}): Promise<Entry[]> {
  return [...(await journal.read({ ...NO_LIMIT, ...range })).entries];
}

export async function allTopics(journal: Journal): Promise<string[]> {
  const topics: string[] = [];
  for await (const page of journal.topics()) topics.push(...page);
  return topics;
}

export async function allEndings(journal: Journal): Promise<Ending[]> {
  const endings: Ending[] = [];
  for await (const page of journal.endings()) endings.push(...page);
  return endings;
}

/** The newest of one topic. */
export async function newestOf(
  journal: Journal,
  topic: string,
  count: number,
  rest: Omit<NewestOptions, 'count'> = {},
): Promise<readonly Entry[]> {
  const [entries = []] = await journal.newest([topic], { count, ...rest });
  return entries;
}

/** Follows a journal that is not expected to lose its place. */
export function follow(
  journal: Journal,
  entries: Follower['entries'],
  after?: Position,
): Promise<Following> {
  const lost = (through: Position): void => {
    throw new Error(`The place was lost up to ${through}.`);
  };
  return journal.follow({ entries, lost }, after);
}

/** What a journal tells from now on. */
export async function listen(journal: Journal, after?: Position): Promise<Entry[]> {
  const heard: Entry[] = [];
  await follow(journal, (entries) => void heard.push(...entries), after);
  return heard;
}

export const dataOf = (entries: readonly Pick<Update, 'data'>[]): string[] =>
  entries.map(({ data }) => data);

/** How long the cases wait for what may come late. */
const PATIENCE_MS = 10_000;

/** Resolves when something has become so: journals trim, and tell what others append, when they can. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) {
      throw new AssertionError({ message: `${holds} has not come true in ${PATIENCE_MS} ms` });
    }
    await wait(5);
  }
}

/** Resolves when a journal holds no more than so many entries. */
export async function untilTrimmed(journal: Journal, count: number): Promise<void> {
  await until(async () => (await readAll(journal)).length <= count);
}
