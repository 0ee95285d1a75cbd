/**
 * Says what is whole in the directory of a journal, and saves it:
 *
 *     koa-sse-hub check-journal ./data --save ./saved
 *
 * It only reads the directory, and without the database, which a damaged file would end.
 */
import { parseArgs } from 'node:util';
import type { JournalCheck } from './journal/lmdb/check.js';
import { toPosition } from './journal/lmdb/entry.js';
import { checkJournal, saveJournal } from './journal/lmdb/save.js';

const USAGE = `Usage: koa-sse-hub check-journal DIRECTORY [--save NEW_DIRECTORY]

  Says what is whole in the journal of a directory, and changes nothing there. It exits with 0 if all is whole.
  --save NEW_DIRECTORY  saves what is whole as a journal there, with the positions, ids and times it had`;

/** @returns the exit code: 0 if all is whole, or was saved; 1 if not, or if there is no journal to look at. */
export async function runCheckJournal(args: readonly string[]): Promise<number> {
  try {
    const { directory, save } = readArguments(args);
    const check = await checkJournal(directory);
    const isWhole = check.problems.length === 0 && check.damagedCount === 0 && check.isJournal;
    console.log(describe(directory, check));
    if (save === undefined) return isWhole ? 0 : 1;
    const { entries, lostThrough } = await saveJournal(directory, save);
    console.log(`Saved ${entries} updates in ${save}.`);
    if (lostThrough) console.log(`Clients that come back from before ${lostThrough} get a gap.`);
    return isWhole ? 0 : 1;
  } catch (error) {
    console.error((error as Error).message);
    return 1;
  }
}

function readArguments(args: readonly string[]): { directory: string; save: string | undefined } {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { save: { type: 'string' } },
    });
    const [directory, ...others] = positionals;
    if (directory === undefined || others.length > 0) throw new Error('Name one directory.');
    return { directory, save: values.save };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n\n${USAGE}`);
  }
}

function describe(directory: string, check: JournalCheck): string {
  const { isJournal, entries, first, last, topics, damaged, damagedCount, problems } = check;
  const { keys, endings } = check;
  const range = first === undefined ? '' : `, ${first} to ${last}`;
  const lines = [`${directory}: ${entries} updates are whole${range}, of ${topics} topics.`];
  if (keys > 0) lines.push(`${keys} Idempotency-Keys are remembered.`);
  if (endings > 0) lines.push(`${endings} endings of topics are remembered.`);
  if (!isJournal && problems.length === 0) {
    lines.push(
      'It is no journal of this version; start the service with it once, or see what made it.',
    );
  }
  if (damagedCount > 0) {
    const some = damaged.slice(0, MAX_SHOWN).map(toPosition).join(', ');
    const more = damagedCount > MAX_SHOWN ? ', …' : '';
    lines.push(`${damagedCount} updates are damaged: ${some}${more}`);
  }
  for (const problem of problems) lines.push(`Damaged: ${problem}.`);
  return lines.join('\n');
}

const MAX_SHOWN = 100;
