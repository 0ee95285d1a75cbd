import { expect, test } from '@jest/globals';
import { Audience, EventStream, type SseMiddleware, sse } from '../src/index.js';

interface Events {
  token: string;
  progress: { done: number };
  message: string;
}

/** Each `@ts-expect-error` is an error of `npm run check` where the line below it compiles. */
test('a wrong name or payload does not compile, and what is right is sent', async () => {
  const stream = new EventStream<Events>();
  stream.send({ id: '1', event: 'token', data: 'Hello' });
  stream.send({ event: 'progress', json: { done: 1 } });
  stream.send({ data: 'a message' });
  stream.send({ id: '2', retry: 10 });
  await stream.sendAll([{ event: 'token', data: 'x' }]);
  expect(String(stream.read())).toContain('event: progress\ndata: {"done":1}\n');

  const audience = new Audience<Events>().add(stream);
  audience.send({ event: 'progress', json: { done: 2 } }, (each) => each === stream);

  // Never called: it has only to compile, or not to.
  void (() => {
    // @ts-expect-error There is no such event.
    stream.send({ event: 'tokens', data: 'x' });
    // @ts-expect-error A text is sent as data.
    stream.send({ event: 'token', json: 'x' });
    // @ts-expect-error A value is sent as json.
    stream.send({ event: 'progress', data: '{"done":1}' });
    // @ts-expect-error The payload is another one.
    stream.send({ event: 'progress', json: { done: 'all' } });
    // @ts-expect-error The payload is missing.
    stream.send({ event: 'progress' });
    // @ts-expect-error There is no such event.
    audience.send({ event: 'tokens', data: 'x' });
    // @ts-expect-error Another payload.
    void stream.sendAll([{ event: 'progress', json: 1 }]);
    // @ts-expect-error Members of an audience understand its events.
    new Audience<{ other: string }>().add(stream);
  });
});

test('sse<Events>() types the stream of its handlers; without a map any event can be sent', () => {
  const events: SseMiddleware<Events> = sse<Events>();
  void ((ctx: Parameters<typeof events>[0]) => {
    ctx.eventStream.send({ event: 'token', data: 'x' });
    // @ts-expect-error There is no such event.
    ctx.eventStream.send({ event: 'tokens', data: 'x' });
  });
  const stream = new EventStream();
  stream.send({ event: 'anything', data: 'x' });
  const typed = new EventStream<Events>();
  new Audience().add(typed); // What knows no types, such as the hub, takes all streams.
  new Audience<Events>().add(stream);
  expect(events.streams.size).toBe(0);
});
