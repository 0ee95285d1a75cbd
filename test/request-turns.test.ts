import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { inTurns } from '../src/http/request-turns.js';

const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

function requests() {
  const begun: string[] = [];
  const handle = inTurns((request) => begun.push(String(request.url)));
  return {
    begun,
    come(method: string, url: string, socket = { destroyed: false }) {
      const request = { method, url, socket } as unknown as IncomingMessage;
      handle(request, {} as ServerResponse);
    },
  };
}

describe('a herd of clients that open streams', () => {
  test('is let in a few at a time and in order, while others go on', async () => {
    const { begun, come } = requests();
    for (let n = 0; n < 100; n += 1) come('GET', `stream ${n}`);
    come('HEAD', 'health');
    come('POST', 'publish');
    const atOnce = begun.length;
    expect(atOnce).toBeLessThan(25);
    expect(begun.slice(-2)).toEqual(['health', 'publish']);
    while (begun.length < 102) {
      const before = begun.length;
      await nextTurn();
      expect(begun.length - before).toBeLessThan(25);
    }
    const streams = begun.filter((url) => url.startsWith('stream'));
    expect(streams).toEqual(Array.from({ length: 100 }, (_, n) => `stream ${n}`));
  });

  test('those that leave while they wait are not served', async () => {
    const { begun, come } = requests();
    const gone = { destroyed: false };
    for (let n = 0; n < 50; n += 1) come('GET', `stream ${n}`);
    for (let n = 0; n < 500; n += 1) come('GET', 'gone', gone);
    come('GET', 'last');
    gone.destroyed = true;
    while (begun.at(-1) !== 'last') await nextTurn();
    expect(begun).toHaveLength(51);
  });
});

describe('requests other than GET', () => {
  test('begin at once, but for those of a flood, a few of them in each turn', async () => {
    const { begun, come } = requests();
    const flood = Array.from({ length: 10 }, () => ({ destroyed: false }));
    for (const socket of flood) {
      for (let n = 0; n < 100; n += 1) come('HEAD', `flood ${n}`, socket);
    }
    expect(begun.length).toBeGreaterThan(10);
    expect(begun.length).toBeLessThan(100);
    while (begun.length < 1_000) {
      const before = begun.length;
      await nextTurn();
      expect(begun.length).toBeGreaterThan(before);
      expect(begun.length - before).toBeLessThan(100);
    }
  });

  test('of one connection are not kept waiting by hundreds of another, and stay in their order', async () => {
    const { begun, come } = requests();
    const flood = { destroyed: false };
    for (let n = 0; n < 500; n += 1) come('POST', `flood ${n}`, flood);
    const socket = { destroyed: false };
    come('POST', 'first', socket);
    come('POST', 'second', socket);
    await nextTurn();
    while (!begun.includes('second')) await nextTurn();
    expect(begun.indexOf('first')).toBeLessThan(begun.indexOf('second'));
    expect(begun.length).toBeLessThan(300);
    while (begun.length < 502) await nextTurn();
    const others = begun.filter((url) => url.startsWith('flood'));
    expect(others).toEqual(Array.from({ length: 500 }, (_, n) => `flood ${n}`));
  });
});

test('a single GET begins at once', async () => {
  const { begun, come } = requests();
  for (let n = 0; n < 3; n += 1) {
    come('GET', String(n));
    expect(begun).toHaveLength(n + 1);
    await nextTurn();
  }
});
