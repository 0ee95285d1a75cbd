import { once } from 'node:events';
import { describe, expect, test } from '@jest/globals';
import { EventStream } from '../src/sse/event-stream.js';
import { encodeFrame } from '../src/sse/frame.js';

const KILOBYTE = 'x'.repeat(1024);

/** Resolves when the stream has closed; fails if it emits an error on the way. */
function closed(stream: EventStream): Promise<unknown> {
  return once(stream, 'close');
}

describe('EventStream', () => {
  test('carries events and comments as one byte stream', async () => {
    const stream = new EventStream();
    stream.send({ id: '1', event: 'currentTime', data: 'now' });
    stream.comment('still here');
    stream.sendBytes(Buffer.from('data: ready-made\n\n'));
    stream.end();
    const text = Buffer.concat(await stream.toArray()).toString();
    expect(text).toBe(
      'id: 1\nevent: currentTime\ndata: now\n\n: still here\n\ndata: ready-made\n\n',
    );
  });

  test('says when its client has stopped reading, and when it reads again', async () => {
    const stream = new EventStream({ highWaterMark: 4096 });
    expect(stream.stalled).toBe(false);
    let accepted = 0;
    while (stream.sendBytes(encodeFrame({ data: KILOBYTE }))) accepted += 1;
    expect(stream.stalled).toBe(true);
    expect(accepted).toBeLessThanOrEqual(8);
    stream.resume();
    await once(stream, 'drain');
    expect(stream.stalled).toBe(false);
  });

  test('drops what is sent after its end instead of raising an error', async () => {
    const stream = new EventStream();
    stream.end();
    expect(await stream.send({ data: 'late' })).toBe(false);
    expect(await stream.toArray()).toEqual([]);
    expect(await stream.send({ data: 'later' })).toBe(false);
  });

  test.each([
    ['the server ends it', (stream: EventStream) => stream.resume().end()],
    ['it is destroyed', (stream: EventStream) => stream.destroy()],
    [
      'its client leaves',
      (stream: EventStream) =>
        stream.destroy(Object.assign(new Error(), { code: 'ERR_STREAM_PREMATURE_CLOSE' })),
    ],
    [
      'its connection is reset',
      (stream: EventStream) => stream.destroy(Object.assign(new Error(), { code: 'ECONNRESET' })),
    ],
  ])('closes once, without an error, when %s', async (_, end) => {
    const stream = new EventStream();
    let closes = 0;
    stream.on('close', () => {
      closes += 1;
    });
    end(stream);
    await closed(stream);
    stream.destroy();
    stream.end();
    await new Promise(setImmediate);
    expect(closes).toBe(1);
  });

  test('still raises an error that is not about the client leaving', async () => {
    const stream = new EventStream();
    const raised = once(stream, 'error');
    stream.destroy(new Error('a bug'));
    expect(await raised).toMatchObject([{ message: 'a bug' }]);
  });
});
