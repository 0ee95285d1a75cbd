import { readFile } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { describe, expect, test } from '@jest/globals';
import { noteAccepted, TurnBudget } from '../src/time-slice.js';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** Works until the time of the turn is over. */
function workLong(budget: TurnBudget): void {
  while (!budget.isOver);
}

/** In how many of so many turns the work may go on. */
async function turnsWithWork(budget: TurnBudget, turns: number): Promise<number> {
  let count = 0;
  for (let turn = 0; turn < turns; turn += 1) {
    await nextTurn();
    if (!budget.isOver) count += 1;
  }
  return count;
}

describe('after a turn that was long', () => {
  test('seven turns are left to others', async () => {
    const budget = new TurnBudget();
    workLong(budget);
    expect(await turnsWithWork(budget, 7)).toBe(0);
    await nextTurn();
    await nextTurn();
    expect(budget.isOver).toBe(false);
  });

  test('long work of other kinds waits too, and does not take these turns', async () => {
    const other = new TurnBudget();
    workLong(new TurnBudget());
    await nextTurn();
    expect(await turnsWithWork(other, 5)).toBe(0);
  });

  test('what is urgent goes on', async () => {
    const urgent = new TurnBudget({ isUrgent: true });
    workLong(new TurnBudget());
    expect(await turnsWithWork(urgent, 5)).toBe(5);
  });

  test('more turns are left as long as each brings a connection, and no more time than was taken', async () => {
    const budget = new TurnBudget();
    const begunAt = performance.now();
    workLong(budget);
    await nextTurn();
    const tookMs = performance.now() - begunAt;
    let turns = 0;
    const restedFrom = performance.now();
    while (budget.isOver) {
      noteAccepted();
      turns += 1;
      await nextTurn();
    }
    const restedMs = performance.now() - restedFrom;
    expect(turns).toBeGreaterThan(20);
    expect(restedMs).toBeGreaterThan(tookMs / 2);
    // It ends, though connections still come.
    expect(restedMs).toBeLessThan(tookMs * 100);
  });

  test('what is patient pauses as long as it took, if others have something to do', async () => {
    const budget = new TurnBudget({ isPatient: true });
    const other = readFile('package.json');
    const begunAt = performance.now();
    workLong(budget);
    const tookMs = performance.now() - begunAt;
    while (budget.isOver) await budget.next();
    expect(performance.now() - begunAt).toBeGreaterThanOrEqual(2 * tookMs - 1);
    await other;
  });
});
