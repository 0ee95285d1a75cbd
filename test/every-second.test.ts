import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { everySecond } from '../src/feeds/every-second.js';

describe('every second', () => {
  beforeEach(() => {
    jest.useFakeTimers({ now: 1_700_000_000_250 });
  });

  afterEach(() => {
    jest.useRealTimers();
  });

  test('is called at the start of each second of the wall clock, until it says no', () => {
    const times: number[] = [];
    const timer = everySecond((now) => times.push(now.getTime()) < 3);
    timer.start();
    timer.start();
    jest.advanceTimersByTime(10_000);
    expect(times).toEqual([1_700_000_001_000, 1_700_000_002_000, 1_700_000_003_000]);
  });

  test('goes on when the wall clock is set back', () => {
    let ticks = 0;
    everySecond(() => {
      ticks += 1;
      return true;
    }).start();
    jest.advanceTimersByTime(2_000);
    jest.setSystemTime(1_699_000_000_000);
    jest.advanceTimersByTime(5_000);
    expect(ticks).toBeGreaterThanOrEqual(6);
  });
});
