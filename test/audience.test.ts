import { once } from 'node:events';
import { describe, expect, jest, test } from '@jest/globals';
import { Audience } from '../src/sse/audience.js';
import { EventStream } from '../src/sse/event-stream.js';
import { FrameError } from '../src/sse/frame.js';

/** The turn after this one, when everything sent in this one has been written. */
const nextTurn = () => new Promise((resolve) => setImmediate(resolve));

/** A stream whose client reads at once, with what it has read so far. */
function reader(): { stream: EventStream; text: () => string } {
  const stream = new EventStream();
  let text = '';
  stream.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return { stream, text: () => text };
}

describe('Audience', () => {
  test('sends an event to those alone that its filter says, in the order of all others', async () => {
    const audience = new Audience();
    const [anna, bert] = [reader(), reader()] as const;
    audience.add(anna.stream).add(bert.stream);
    audience.send({ data: 'to all' });
    audience.send({ data: 'to Anna' }, (stream) => stream === anna.stream);
    audience.sendBytes('data: to Bert\n\n', (stream) => stream === bert.stream);
    audience.send({ data: 'to nobody' }, () => false);
    audience.send({ data: 'to all again' });
    const late = reader();
    audience.add(late.stream);
    audience.send({ data: 'and to the late' });
    await nextTurn();
    const all = (name: string) =>
      `data: to all\n\ndata: to ${name}\n\ndata: to all again\n\ndata: and to the late\n\n`;
    expect([anna.text(), bert.text()]).toEqual([all('Anna'), all('Bert')]);
    expect(late.text()).toBe('data: and to the late\n\n');
    audience.send({ data: 'unfiltered' });
    await nextTurn();
    expect(bert.text()).toBe(`${all('Bert')}data: unfiltered\n\n`);
  });

  test('tells the owner of a stalled member the first frame that it has missed of those for it', async () => {
    const stalls: number[] = [];
    const audience = new Audience({ onStall: (_, firstMissed) => stalls.push(firstMissed) });
    const stream = new EventStream();
    audience.add(stream);
    while (!stream.stalled) stream.sendBytes('x'.repeat(1024));
    audience.send({ data: '0' }, () => false);
    audience.send({ data: '1' }, () => true);
    audience.send({ data: '2' });
    await nextTurn();
    expect(stalls).toEqual([1]);
  });

  test('refuses a filter that is no function, when it is given', () => {
    expect(() => new Audience().send({ data: 'x' }, 'all' as never)).toThrow(
      'A filter is a function, not string.',
    );
  });

  test('hands all members the same Buffer: an event is encoded once', async () => {
    const audience = new Audience();
    const streams = [new EventStream(), new EventStream(), new EventStream()];
    for (const stream of streams) audience.add(stream);
    audience.send({ data: 'x' });
    await nextTurn();
    const chunks = streams.map((stream) => (stream.read() as Buffer).buffer);
    expect(Buffer.from(chunks[0] as ArrayBuffer).includes('data: x')).toBe(true);
    expect(new Set(chunks).size).toBe(1);
  });

  test('writes once per stream what is sent within one turn', async () => {
    const audience = new Audience();
    const { stream, text } = reader();
    audience.add(stream);
    const write = jest.spyOn(stream, 'write');
    for (let n = 0; n < 100; n += 1) audience.send({ data: String(n) });
    audience.comment();
    expect(write).not.toHaveBeenCalled();
    await nextTurn();
    expect(write).toHaveBeenCalledTimes(1);
    await nextTurn();
    expect(text()).toBe(`${Array.from({ length: 100 }, (_, n) => `data: ${n}\n\n`).join('')}:\n\n`);
  });

  test('a member that joins in the middle of a turn gets what is sent from then on', async () => {
    const audience = new Audience();
    const [early, late, later] = [reader(), reader(), reader()];
    audience.add(early.stream);
    audience.send({ data: '1' });
    audience.add(late.stream);
    audience.send({ data: '2' });
    audience.add(later.stream);
    await nextTurn();
    audience.send({ data: '3' });
    await nextTurn();
    await nextTurn();
    expect(early.text()).toBe('data: 1\n\ndata: 2\n\ndata: 3\n\n');
    expect(late.text()).toBe('data: 2\n\ndata: 3\n\n');
    expect(later.text()).toBe('data: 3\n\n');
  });

  test('a stream that is taken out gets no more, and stays open', async () => {
    const audience = new Audience();
    const { stream, text } = reader();
    audience.add(stream);
    audience.send({ data: 'unsent' });
    expect(audience.delete(stream)).toBe(true);
    expect(audience.delete(stream)).toBe(false);
    stream.send({ data: 'own' });
    await nextTurn();
    expect(text()).toBe('data: own\n\n');
    expect(stream.listenerCount('close')).toBe(0);
  });

  test('a stream leaves by itself when it closes, and leaves no listener', async () => {
    const audience = new Audience();
    const { stream } = reader();
    const before = stream.listenerCount('close');
    audience.add(stream);
    stream.destroy();
    await once(stream, 'close');
    expect(audience.size).toBe(0);
    expect(stream.listenerCount('close')).toBe(before);
    expect(stream.listenerCount('drain')).toBe(0);
    audience.add(stream);
    expect(audience.size).toBe(0);
  });

  test('adding a stream twice sends to it once', async () => {
    const audience = new Audience();
    const { stream, text } = reader();
    audience.add(stream).add(stream);
    audience.send({ data: 'x' });
    await nextTurn();
    await nextTurn();
    expect(text()).toBe('data: x\n\n');
  });

  test('skips a member that does not read, in bounded memory, and slows nobody', async () => {
    const audience = new Audience();
    const stalled = new EventStream();
    const { stream, text } = reader();
    audience.add(stalled).add(stream);
    const data = 'x'.repeat(1000);
    for (let n = 0; n < 1000; n += 1) {
      audience.send({ data });
      await nextTurn();
    }
    await nextTurn();
    expect(text().length).toBe(1000 * `data: ${data}\n\n`.length);
    const buffered = stalled.readableLength + stalled.writableLength;
    expect(buffered).toBeLessThan(2 * 16 * 1024 + 2 * 1024);
  });

  test('tells its owner what a flush has written, without what stalled or late members go without', async () => {
    const told: unknown[] = [];
    const audience = new Audience({
      onFlush: (count, flushed) => told.push([count, { ...flushed }]),
    });
    const [early, late, stalled] = [new EventStream(), new EventStream(), new EventStream()];
    audience.add(early).add(stalled);
    while (!stalled.stalled) stalled.sendBytes('x'.repeat(1024));
    audience.send({ data: '1' });
    audience.add(late);
    audience.send({ data: '2' });
    await nextTurn();
    audience.send({ data: '3' }, (stream) => stream === late);
    await nextTurn();
    const bytes = 'data: 1\n\n'.length;
    expect(told).toEqual([
      [2, { deliveries: 3, bytes: 3 * bytes }],
      [1, { deliveries: 1, bytes }],
    ]);
  });

  test("tells its owner once of each stall and of each stalled member's return", async () => {
    const told: string[] = [];
    const stream = new EventStream({ highWaterMark: 1024 });
    const audience = new Audience({
      onStall: () => told.push('stall'),
      onResume: (member) => {
        told.push('resume');
        member.send({ data: 'what it missed' });
      },
    });
    audience.add(stream);
    for (let round = 0; round < 2; round += 1) {
      for (let n = 0; n < 10; n += 1) {
        audience.send({ data: 'x'.repeat(1000) });
        await nextTurn();
      }
      const drained = once(stream, 'drain');
      let text = '';
      const take = (chunk: Buffer) => {
        text += chunk;
      };
      stream.on('data', take).resume();
      await drained;
      await nextTurn();
      stream.off('data', take).pause();
      expect(text.endsWith('data: what it missed\n\n')).toBe(true);
    }
    expect(told).toEqual(['stall', 'resume', 'stall', 'resume']);
  });

  test('its owner may take a stalled member out', async () => {
    const audience: Audience = new Audience({ onStall: (stream) => audience.delete(stream) });
    const stream = new EventStream({ highWaterMark: 10 });
    audience.add(stream);
    for (let n = 0; n < 5; n += 1) {
      audience.send({ data: 'more than ten bytes' });
      await nextTurn();
    }
    expect(audience.size).toBe(0);
    expect(stream.listenerCount('drain')).toBe(0);
    expect(stream.destroyed).toBe(false);
  });

  test('ends all members after what was sent to them, by other audiences too', async () => {
    const [audience, other] = [new Audience(), new Audience()];
    const { stream, text } = reader();
    audience.add(stream);
    other.add(stream);
    audience.send({ data: 'goodbye' });
    other.send({ data: 'and good luck' });
    audience.end();
    await once(stream, 'close');
    expect(text()).toBe('data: goodbye\n\ndata: and good luck\n\n');
    expect(audience.size).toBe(0);
  });

  test('many of them share a stream without a warning', () => {
    const warn = jest.spyOn(process, 'emitWarning');
    const stream = new EventStream();
    for (let n = 0; n < 50; n += 1) new Audience().add(stream);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  test('whatever its owner does about a stalled member, all others get the turn whole', async () => {
    const [first, last, fresh] = [reader(), reader(), reader()];
    const stalled = new EventStream({ highWaterMark: 10 });
    let stalls = 0;
    const audience: Audience = new Audience({
      onStall: (stream) => {
        stalls += 1;
        audience.delete(stream);
        audience.add(stream).add(fresh.stream);
        audience.send({ data: 'from the owner' });
      },
    });
    audience.add(first.stream).add(stalled).add(last.stream);
    stalled.send({ data: 'more than ten bytes' });
    audience.send({ data: '1' });
    audience.send({ data: '2' });
    await nextTurn();
    for (const { text } of [first, last]) expect(text()).toContain('data: 1\n\ndata: 2\n\n');
    expect(fresh.text()).not.toContain('data: 1');
    expect(stalls).toBe(1);
    audience.delete(stalled);
    await nextTurn();
    await nextTurn();
    for (const { text } of [first, last, fresh]) expect(text()).toContain('from the owner');
  });

  test('does not tell of a stall where another owner callback has let the member in anew', async () => {
    const stalled: EventStream[] = [];
    const [first, second] = [1, 2].map(() => new EventStream({ highWaterMark: 10 })) as [
      EventStream,
      EventStream,
    ];
    const audience: Audience = new Audience({
      onStall(stream) {
        stalled.push(stream);
        audience.delete(second);
        audience.add(second);
      },
    });
    audience.add(first).add(second);
    for (const stream of [first, second]) stream.send({ data: 'more than ten bytes' });
    audience.send({ data: 'missed by both' });
    await nextTurn();
    expect(stalled).toEqual([first]);
    for (const stream of [first, second]) stream.destroy();
  });

  test('refuses what is no frame where it is handed over', () => {
    expect(() => new Audience().sendBytes(undefined as unknown as Buffer)).toThrow(TypeError);
    expect(() => new Audience().comment(7 as unknown as string)).toThrow(TypeError);
  });

  test('refuses an event that cannot be encoded, also when nobody listens', () => {
    const audience = new Audience();
    expect(() => audience.send({ event: 'a\nb' })).toThrow(FrameError);
  });

  test('lists its members', () => {
    const streams = [new EventStream(), new EventStream()] as const;
    const audience = new Audience().add(streams[0]).add(streams[1]);
    expect([...audience]).toEqual([...streams]);
    expect(audience.size).toBe(2);
  });

  test('large frames are written to a few members in a turn, and then others have turns', async () => {
    const audiences = [new Audience(), new Audience()] as const;
    const small = reader();
    const other = new Audience().add(small.stream);
    let written = 0;
    for (let n = 0; n < 60; n += 1) {
      const stream = new EventStream();
      jest.spyOn(stream, 'sendBytes').mockImplementation(() => {
        const end = performance.now() + 1; // As a write of a megabyte takes.
        while (performance.now() < end);
        written += 1;
        return true;
      });
      audiences[n % 2]?.add(stream);
    }
    for (const audience of audiences) audience.sendBytes(Buffer.alloc(1_000_000));
    other.send({ data: 'small' });
    let turns = 0;
    while (written < 60) {
      const before = written;
      await nextTurn();
      turns += 1;
      expect(written - before).toBeLessThan(12);
      if (turns === 2) expect(small.text()).toBe('data: small\n\n');
    }
    expect(turns).toBeGreaterThan(40);
  });
});
