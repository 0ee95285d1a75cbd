import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { SummedLog } from '../src/log.js';

let lines: string[];
let log: SummedLog;

beforeEach(() => {
  jest.useFakeTimers();
  lines = [];
  log = new SummedLog((line) => lines.push(line), { everyMs: 10_000 });
});

afterEach(() => {
  jest.useRealTimers();
});

describe('a summed log', () => {
  test('writes the first of a kind at once, and the others in one line with an example', () => {
    for (let i = 1; i <= 1_002; i++) log.add('slow client', `client ${i} does not read`);
    expect(lines).toEqual(['client 1 does not read']);
    jest.advanceTimersByTime(10_000);
    expect(lines.slice(1)).toEqual(['client 1002 does not read (one of 1001 like it in 10 s)']);
  });

  test('writes at most one line of a kind in its time, however long it lasts', () => {
    for (let i = 0; i < 1_000; i++) {
      log.add('slow client', 'x');
      jest.advanceTimersByTime(100);
    }
    expect(lines.length).toBeLessThanOrEqual(11);
  });

  test('keeps kinds apart', () => {
    log.add('a', 'first');
    log.add('b', 'second');
    expect(lines).toEqual(['first', 'second']);
  });

  test('after a quiet time the next one is written at once, and no timer is left', () => {
    log.add('a', 'first');
    jest.advanceTimersByTime(10_000);
    expect(jest.getTimerCount()).toBe(0);
    log.add('a', 'second');
    expect(lines).toEqual(['first', 'second']);
  });

  test('tells what it has counted when it is flushed, and leaves no timer', () => {
    for (const message of ['first', 'second', 'third']) log.add('a', message);
    log.flush();
    expect(lines).toEqual(['first', 'third (one of 2 like it in 10 s)']);
    expect(jest.getTimerCount()).toBe(0);
    log.flush();
    expect(lines.length).toBe(2);
  });
});
