import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type Log, type LogEntry, type SummedLog, summed } from '../src/log.js';

let lines: string[];
let log: SummedLog;

function add(event: string, message: string): void {
  log({ level: 'warn', event, message });
}

beforeEach(() => {
  jest.useFakeTimers();
  lines = [];
  const write: Log = ({ message }) => lines.push(message);
  log = summed(write, { everyMs: 10_000 });
});

afterEach(() => {
  jest.useRealTimers();
});

describe('a summed log', () => {
  test('writes the first of an event at once, and the others in one line with an example', () => {
    for (let i = 1; i <= 1_002; i++) add('slow client', `client ${i} does not read`);
    expect(lines).toEqual(['client 1 does not read']);
    jest.advanceTimersByTime(10_000);
    expect(lines.slice(1)).toEqual(['client 1002 does not read (one of 1001 like it in 10 s)']);
  });

  test('writes at most one line of an event in its time, however long it lasts', () => {
    for (let i = 0; i < 1_000; i++) {
      add('slow client', 'x');
      jest.advanceTimersByTime(100);
    }
    expect(lines.length).toBeLessThanOrEqual(11);
  });

  test('gives with the sum the fields of its example, and the number', () => {
    const entries: LogEntry[] = [];
    const sums = summed((entry) => entries.push(entry), { everyMs: 10_000 });
    for (const client of ['a', 'b', 'c']) {
      sums({ level: 'warn', event: 'slow-client', message: `${client} does not read`, client });
    }
    sums.flush();
    expect(entries.map(({ client, count }) => ({ client, count }))).toEqual([
      { client: 'a', count: undefined },
      { client: 'c', count: 2 },
    ]);
  });

  test('keeps events apart', () => {
    add('a', 'first');
    add('b', 'second');
    expect(lines).toEqual(['first', 'second']);
  });

  test('after a quiet time the next one is written at once, and no timer is left', () => {
    add('a', 'first');
    jest.advanceTimersByTime(10_000);
    expect(jest.getTimerCount()).toBe(0);
    add('a', 'second');
    expect(lines).toEqual(['first', 'second']);
  });

  test('tells what it has counted when it is flushed, and leaves no timer', () => {
    for (const message of ['first', 'second', 'third']) add('a', message);
    log.flush();
    expect(lines).toEqual(['first', 'third (one of 2 like it in 10 s)']);
    expect(jest.getTimerCount()).toBe(0);
    log.flush();
    expect(lines.length).toBe(2);
  });
});
