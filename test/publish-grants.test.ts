import { afterEach, describe, expect, test } from '@jest/globals';
import type { Service } from '../src/service.js';
import { startTestService } from './support/server.js';
import { tokenFor } from './support/tokens.js';

let service: Service | undefined;
afterEach(() => service?.stop());

describe('a token of many templates and a body of many topics', () => {
  // 100 variables, and 900 topics of 1 KB that none of them matches.
  const grants = Array.from({ length: 5 }, (_, n) =>
    Array.from({ length: 20 }, (_, k) => `{+v${n}_${k}:${500 + k}}`).join(''),
  );
  const topics = Array.from({ length: 900 }, (_, n) => `${'a'.repeat(1_000)} ${n}`);
  const body = Array.from({ length: 9 }, (_, n) =>
    JSON.stringify({ topic: topics.slice(100 * n, 100 * (n + 1)) }),
  ).join('\n');

  async function post(publish: string[]): Promise<Response> {
    return fetch(`${service?.url}/hub`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/x-ndjson',
        Authorization: `Bearer ${await tokenFor({ publish })}`,
      },
      body,
    });
  }

  test('delay nobody else', async () => {
    service = await startTestService();
    let posting = true;
    const posted = post([...grants, '*']).finally(() => {
      posting = false;
    });
    let longest = 0;
    while (posting) {
      const start = performance.now();
      const { status } = await fetch(service.url, { method: 'HEAD' });
      expect(status).toBe(200);
      longest = Math.max(longest, performance.now() - start);
    }
    expect((await posted).status).toBe(200);
    // It was 3 to 4 s when all topics were looked at in one turn of the event loop.
    expect(longest).toBeLessThan(700);
  });

  test('are refused with the first topic that the token does not cover', async () => {
    service = await startTestService();
    const response = await post([...grants, ...topics.slice(0, 2)]);
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      detail: `The token does not cover ${JSON.stringify(topics[2])}.`,
    });
  });
});
