import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { createParser, type EventSourceMessage } from 'eventsource-parser';

/** A reader of an event stream's real bytes, parsed by an implementation that is not ours. */
export interface SseClient {
  readonly response: IncomingMessage;
  /** Everything received so far, undecoded. */
  readonly bytes: () => Buffer;
  /** The next event that was not yet taken; waits for it. Rejects when the stream ends first. */
  next(): Promise<EventSourceMessage>;
  /** The next events, in order. */
  take(count: number): Promise<EventSourceMessage[]>;
  /** The next comment that was not yet taken. */
  nextComment(): Promise<string>;
  /** Resolves when the server has ended the stream cleanly; rejects if the connection broke. */
  readonly ended: Promise<void>;
  /** Leaves, as a closed browser tab does. */
  abort(): void;
}

/** Opens an event stream and resolves with its head. */
export async function connect(
  url: string,
  headers: Record<string, string> = {},
): Promise<SseClient> {
  const client = request(url, {
    agent: false,
    headers: { Accept: 'text/event-stream', ...headers },
  });
  client.end();
  const [response] = (await once(client, 'response')) as [IncomingMessage];
  const events = queue<EventSourceMessage>();
  const comments = queue<string>();
  const chunks: Buffer[] = [];
  const parser = createParser({
    onEvent: (event) => events.put(event),
    onComment: (comment) => comments.put(comment),
    onError: (error) => events.fail(error),
  });
  const decoder = new TextDecoder();
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    parser.feed(decoder.decode(chunk, { stream: true }));
  });
  const ended = new Promise<void>((resolve, reject) => {
    response.once('end', resolve);
    response.once('error', reject);
    client.on('error', reject); // A reset: a body that ends with its connection has an end nevertheless.
  });
  const over = (error: Error) => {
    events.fail(error);
    comments.fail(error);
  };
  ended.then(() => over(new Error('The event stream has ended.')), over);

  return {
    response,
    bytes: () => Buffer.concat(chunks),
    next: events.take,
    async take(count) {
      const taken: EventSourceMessage[] = [];
      while (taken.length < count) taken.push(await events.take());
      return taken;
    },
    nextComment: comments.take,
    ended,
    abort: () => response.destroy(),
  };
}

function queue<T>() {
  const items: T[] = [];
  const waiting: { resolve: (item: T) => void; reject: (error: Error) => void }[] = [];
  let failure: Error | undefined;
  return {
    put(item: T): void {
      const first = waiting.shift();
      if (first) first.resolve(item);
      else items.push(item);
    },
    fail(error: Error): void {
      failure ??= error;
      for (const { reject } of waiting.splice(0)) reject(error);
    },
    take(): Promise<T> {
      const item = items.shift();
      if (item !== undefined) return Promise.resolve(item);
      if (failure) return Promise.reject(failure);
      return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
    },
  };
}
