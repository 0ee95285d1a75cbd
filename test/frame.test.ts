import { describe, expect, test } from '@jest/globals';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import fc from 'fast-check';
import { encodeComment, encodeFrame, FrameError, type SseEvent } from '../src/sse/frame.js';

interface Received {
  events: EventSourceMessage[];
  retries: number[];
  comments: string[];
  errors: Error[];
}

/** Reads a text as a client does. */
function receive(text: string): Received {
  const received: Received = { events: [], retries: [], comments: [], errors: [] };
  const parser = createParser({
    onEvent: (event) => received.events.push(event),
    onRetry: (retry) => received.retries.push(retry),
    onComment: (comment) => received.comments.push(comment),
    onError: (error) => received.errors.push(error),
  });
  parser.feed(text);
  return received;
}

function errorOf(event: object): FrameError {
  try {
    encodeFrame(event as SseEvent);
  } catch (error) {
    return error as FrameError;
  }
  throw new Error('It was encoded.');
}

describe('encodeFrame', () => {
  test('writes id, event, data and retry as one field a line and ends with an empty line', () => {
    expect(encodeFrame({ id: '7-1', event: 'currentTime', data: 'now', retry: 500 })).toBe(
      'id: 7-1\nevent: currentTime\ndata: now\nretry: 500\n\n',
    );
  });

  test('leaves out what is absent', () => {
    expect(encodeFrame({ data: 'x' })).toBe('data: x\n\n');
    expect(encodeFrame({ id: '1', event: undefined })).toBe('id: 1\n\n');
  });

  test('keeps the empty string: empty data is an event, an empty id resets the last event id', () => {
    expect(receive(encodeFrame({ data: '' })).events).toEqual([
      { id: undefined, event: undefined, data: '' },
    ]);
    expect(encodeFrame({ id: '' })).toBe('id: \n\n');
  });

  test.each(['a\nb', 'a\rb', 'a\r\nb'])('splits data at a line break: %j', (data) => {
    expect(encodeFrame({ data })).toBe('data: a\ndata: b\n\n');
  });

  test('keeps empty lines, leading spaces and a trailing line break of data', () => {
    const data = '  indented\n\n\tlast\n';
    expect(receive(encodeFrame({ data })).events[0]?.data).toBe(data);
  });

  test('keeps text of several bytes a character intact', () => {
    const data = 'Grüße, 世界 👩‍🚀 \u2028 \u0085';
    expect(receive(Buffer.from(encodeFrame({ data })).toString()).events[0]?.data).toBe(data);
  });

  test.each(['\n', '\r', '\r\n', 'x\ndata: forged'])(
    'refuses a line break in id and event instead of stripping it: %j',
    (value) => {
      for (const field of ['id', 'event'] as const) {
        const error = errorOf({ [field]: value });
        expect(error).toBeInstanceOf(FrameError);
        expect(error).toMatchObject({ code: 'ERR_FIELD_LINE_BREAK', field });
      }
    },
  );

  test('refuses NUL in id, which clients would ignore', () => {
    expect(errorOf({ id: 'a\0b' })).toMatchObject({ code: 'ERR_FIELD_NUL', field: 'id' });
  });

  test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 1e21, '5'])(
    'refuses a retry that is no non-negative integer: %p',
    (retry) => {
      expect(errorOf({ retry })).toMatchObject({ code: 'ERR_RETRY', field: 'retry' });
    },
  );

  test.each(['id', 'event', 'data'])('refuses a %s that is not a string', (field) => {
    for (const value of [1, null, {}, ['x']]) {
      expect(errorOf({ [field]: value })).toMatchObject({ code: 'ERR_FIELD_TYPE', field });
    }
  });
});

describe('encodeComment', () => {
  test('writes a heartbeat that ends with an empty line', () => {
    expect(encodeComment()).toBe(':\n\n');
  });

  test('cannot be left by a line break', () => {
    const received = receive(encodeComment('a\ndata: b\rid: c\r\n\r\nd'));
    expect(received.events).toEqual([]);
    expect(received.comments).toEqual(['a', 'data: b', 'id: c', '', 'd']);
  });
});

describe('for any input', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom('\r', '\n', '\0', ' ', ':', 'data: ', 'id:', 'é', '😀') }),
  );
  const line = text.filter((value) => !/[\r\n\0]/.test(value));
  const asReceived = (data: string) => data.replace(/\r\n|\r/g, '\n');

  test('what goes in comes out of an independent parser, line breaks as LF', () => {
    fc.assert(
      fc.property(line, line, text, fc.nat(), (id, event, data, retry) => {
        const received = receive(encodeFrame({ id, event, data, retry }));
        expect(received.errors).toEqual([]);
        expect(received.retries).toEqual([retry]);
        expect(received.events).toEqual([
          { id, event: event === '' ? undefined : event, data: asReceived(data) },
        ]);
      }),
      { numRuns: 2_000 },
    );
  });

  test('no field forges another, another event or a comment: all is encoded whole or refused', () => {
    const optional = fc.option(text, { nil: undefined });
    const event = fc.record({ id: optional, event: optional, data: optional });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 4 }), (events) => {
        const accepted = events.filter(({ id, event }) => {
          return !/[\r\n\0]/.test(id ?? '') && !/[\r\n]/.test(event ?? '');
        });
        let stream = '';
        for (const candidate of events) {
          try {
            stream += encodeFrame(candidate);
          } catch (error) {
            expect(error).toBeInstanceOf(FrameError);
            expect(accepted).not.toContain(candidate);
          }
        }
        const received = receive(stream);
        expect(received.comments).toEqual([]);
        expect(received.retries).toEqual([]);
        expect(received.errors).toEqual([]);
        expect(received.events.map(({ data }) => data)).toEqual(
          accepted.flatMap(({ data }) => (data === undefined ? [] : asReceived(data))),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  test('a frame is the same however its bytes are cut', () => {
    fc.assert(
      fc.property(line, text, fc.nat(200), (id, data, cut) => {
        const bytes = Buffer.from(encodeFrame({ id, data }));
        const decoder = new TextDecoder();
        const events: EventSourceMessage[] = [];
        const parser = createParser({ onEvent: (event) => events.push(event) });
        parser.feed(decoder.decode(bytes.subarray(0, cut), { stream: true }));
        parser.feed(decoder.decode(bytes.subarray(cut), { stream: true }));
        expect(events.map((event) => event.data)).toEqual([asReceived(data)]);
      }),
    );
  });
});

describe('json', () => {
  test.each<[unknown, string]>([
    [{ done: 3, of: [1, 'two\nlines\r'] }, '{"done":3,"of":[1,"two\\nlines\\r"]}'],
    ['text', '"text"'],
    [null, 'null'],
    [0, '0'],
    [new Date(0), '"1970-01-01T00:00:00.000Z"'],
  ])('is written as one line of data: %j', (json, data) => {
    expect(encodeFrame({ event: 'progress', json })).toBe(`event: progress\ndata: ${data}\n\n`);
  });

  test('is refused where JSON has no such value, or the event has data as well', () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    for (const json of [() => 1, Symbol('x'), 1n, circle, { toJSON: () => undefined }]) {
      expect(() => encodeFrame({ json })).toThrow(
        expect.objectContaining({ code: 'ERR_JSON', field: 'json', name: 'FrameError' }),
      );
    }
    expect(() => encodeFrame({ json: 1, data: '1' })).toThrow('as data or as json, not both');
    expect(encodeFrame({ json: undefined, data: '1' })).toBe('data: 1\n\n');
  });
});
