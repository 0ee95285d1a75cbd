import { Agent, request } from 'node:http';
import { describe, expect, test } from '@jest/globals';
import { readKeys } from '../src/auth/keys.js';
import { VerifiedTokens } from '../src/auth/verified-tokens.js';
import { EntryFrames } from '../src/hub/entry-frames.js';
import { JournalReads } from '../src/hub/journal-reads.js';
import { Window } from '../src/hub/window.js';
import { openMemoryJournal } from '../src/journal/memory/memory.js';
import { select } from '../src/topics/selection.js';
import { bytesInUse, collectGarbage } from './support/heap.js';
import { openTestHub, update } from './support/hub.js';
import { JWT_KEY, startTestService } from './support/server.js';
import { tokenFor } from './support/tokens.js';

const MEGABYTE = 1024 * 1024;

describe('what strangers leave behind', () => {
  test('updates in the window keep no memory of what was handled beside them', async () => {
    const { hub, journal } = await openTestHub();
    const before = bytesInUse();
    for (let n = 0; n < 10_000; n++) {
      await hub.publish([update('topic', `update ${n}`)]);
      await new Promise(setImmediate);
      Buffer.from('x'.repeat(3_900)); // As tokens, forms and keys of the journal are.
    }
    // The window counts 7 MB. Without memory of its own it kept 45 MB.
    expect(bytesInUse() - before).toBeLessThan(15 * MEGABYTE);
    hub.close();
    await journal.close();
  });

  test('updates that have left the window, however large they were', async () => {
    const window = new Window(2 * MEGABYTE);
    const add = (n: number, frame: Buffer) => {
      const position = `1795196765777-${n}`;
      window.add({ ...update(['topic'], ''), id: position, position }, frame);
      return new WeakRef(frame);
    };
    const large = add(1, Buffer.alloc(MEGABYTE));
    let n = 1;
    while (window.start.ordinal === 0) add(++n, Buffer.alloc(100));
    await until(() => large.deref() === undefined);
    expect(window.head.ordinal).toBe(n);
  });

  test('small updates do not keep the large forms that they came in', async () => {
    const service = await startTestService();
    const send = async () => {
      const form = {
        topic: 'a topic with some length',
        data: 'with data',
        junk: '-'.repeat(900_000),
      };
      const authorization = `Bearer ${await tokenFor()}`;
      const body = new URLSearchParams(form);
      const sent = await fetch(`${service.url}/hub`, {
        method: 'POST',
        headers: { authorization },
        body,
      });
      expect(sent.status).toBe(200);
      await sent.text();
    };
    await send();
    const before = bytesInUse();
    for (let n = 0; n < 50; n++) await send();
    // Each kept its form: 45 MB.
    await until(() => bytesInUse() - before < 15 * MEGABYTE);
    await service.stop();
  });

  test('addresses that limits remember do not keep the headers that they came in', async () => {
    const service = await startTestService({ TRUST_PROXY: 'loopback' });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const junk = 'unknown, '.repeat(1_600);
    const head = (n: number) =>
      new Promise((resolve, reject) => {
        const headers = {
          'X-Forwarded-For': `${junk}203.100.${100 + (n >> 7)}.${100 + (n & 127)}`,
        };
        const asked = request(service.url, { method: 'HEAD', agent, headers });
        asked.on('error', reject).on('response', (answer) => answer.resume().on('end', resolve));
        asked.end();
      });
    await head(0);
    const before = bytesInUse();
    for (let n = 1; n <= 1_000; n++) await head(n);
    // Each kept its header: 14 MB.
    await until(() => bytesInUse() - before < 5 * MEGABYTE);
    agent.destroy();
    await service.stop();
  });

  test('tokens that were good do not keep the URLs that they came in', async () => {
    const verified = new VerifiedTokens(readKeys({ JWT_KEY })?.publisher as never);
    await verified.verify(await tokenFor({ publish: ['first'] }));
    const before = bytesInUse();
    for (let n = 0; n < 500; n++) {
      const url = 'x'.repeat(15_000) + (await tokenFor({ publish: [`${n}`] }));
      await verified.verify(url.slice(15_000));
    }
    // Each kept its URL: 8 MB.
    await until(() => bytesInUse() - before < 4 * MEGABYTE);
    expect((await verified.verify(await tokenFor({ publish: ['0'] }))).publish).toHaveLength(1);
  });

  test('what a replay has read is let go of when nobody else has wanted it for a while', async () => {
    const journal = openMemoryJournal({ maxUpdates: 10_000, maxAgeMs: 0 });
    for (let n = 0; n < 1_000; n++) await journal.append([update('topic', `update ${n}`)]);
    const { head } = await journal.bounds();
    const window = new Window(0);
    window.restart(head?.position as string);
    const reads = new JournalReads(journal, window, new EntryFrames(fail));
    const read = async () => new WeakRef(await reads.read(undefined, undefined));

    const batch = await read();
    expect(await reads.read(undefined, undefined)).toBe(batch.deref());
    await until(() => batch.deref() === undefined);
    await journal.close();
  });

  test('selections of those who have caught up, however large they were', () => {
    selectAndLeave(0);
    const before = bytesInUse();
    for (let n = 1; n <= 256; n++) selectAndLeave(n);
    // Without a bound in bytes 36 MB.
    expect(bytesInUse() - before).toBeLessThan(12 * MEGABYTE);
  });

  test('topics that templates were matched with, whatever characters they have', () => {
    const { selectors } = select(['{+a}{b}{?c}']);
    const before = bytesInUse();
    for (let n = 0; n < 128; n++) {
      const codes = Array.from({ length: 1_000 }, (_, index) => 0x100 + 1_000 * (n % 10) + index);
      selectors[0]?.matches(`${String.fromCharCode(...codes)}${n}`);
    }
    // Without a bound in bytes 21 MB.
    expect(bytesInUse() - before).toBeLessThan(12 * MEGABYTE);
  });
});

/** A client with a hundred templates that are nobody else's asks for a topic, and goes. */
function selectAndLeave(n: number): void {
  const templates = Array.from({ length: 100 }, (_, index) => `{a}${n}/${index}{?b,c}`.padEnd(150));
  select(templates.map((text) => text.replaceAll(' ', '-'))).asksForTopic('topic');
}

async function until(isTrue: () => boolean): Promise<void> {
  collectGarbage();
  while (!isTrue()) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    collectGarbage();
  }
}

function fail(_: unknown, error: unknown): never {
  throw error;
}
