import { describe, expect, test } from '@jest/globals';
import { MAX_KEYS, parseRate, type Rate, RateLimiter } from '../src/limits/rate.js';

function limiter(text: string) {
  const clock = { now: 1_000 };
  return { clock, rate: new RateLimiter(parseRate(text) as Rate, () => clock.now) };
}

describe('a rate', () => {
  test.each(['7/s', '300/m', '1/h', '999983/m'])(
    '%s lets exactly so many through at once',
    (text) => {
      const { rate } = limiter(text);
      let taken = 0;
      while (rate.take('a') === 0) taken += 1;
      expect(taken).toBe(rate.rate.count);
    },
  );

  test('says how long to wait, and keeps it', () => {
    const { rate, clock } = limiter('3/m');
    for (let i = 0; i < 3; i++) expect(rate.take('a')).toBe(0);
    clock.now += 5_000;
    const waitMs = rate.take('a');
    expect(waitMs).toBeCloseTo(15_000);
    clock.now += waitMs;
    expect(rate.take('a')).toBe(0);
    expect(rate.take('a')).toBeGreaterThan(0);
  });

  test('holds no more after a long time than at the start', () => {
    const { rate, clock } = limiter('3/m');
    rate.take('a');
    rate.giveBack('a');
    clock.now += 3_600_000;
    for (let i = 0; i < 3; i++) expect(rate.take('a')).toBe(0);
    expect(rate.take('a')).toBeGreaterThan(0);
  });

  test('of a million addresses remembers a bounded number', () => {
    const { rate } = limiter('3/m');
    for (let i = 0; i < 1_000_000; i++) rate.take(`2001:db8:${i.toString(16)}:1::/64`);
    expect(rate.size).toBe(MAX_KEYS);
  });
});
