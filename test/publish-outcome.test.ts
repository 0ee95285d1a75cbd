import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { SignJWT } from 'jose';
import { Hub } from '../src/hub/hub.js';
import { JournalError } from '../src/journal/journal.js';
import type { Service } from '../src/service.js';
import { JWT_KEY, startTestService } from './support/server.js';

let service: Service;
let token: string;
let log: ReturnType<typeof jest.spyOn>;

beforeEach(async () => {
  log = jest.spyOn(console, 'error').mockImplementation(() => undefined);
  service = await startTestService({ FEEDS: 'none' });
  token = await new SignJWT({ mercure: { publish: ['*'] } })
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(JWT_KEY));
});

afterEach(async () => {
  await service.stop();
  jest.restoreAllMocks();
});

const publish = async (fields: Record<string, string>, headers: Record<string, string> = {}) => {
  const response = await fetch(`${service.url}/hub`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, ...headers },
    body: new URLSearchParams({ topic: 'a', data: 'once', ...fields }),
  });
  return { response, text: await response.text() };
};

/** The journal appends, and its answer is lost on the way. */
function loseNextAnswer(): void {
  const { publish } = Hub.prototype;
  jest.spyOn(Hub.prototype, 'publish').mockImplementationOnce(async function (
    this: Hub,
    ...args: Parameters<typeof publish>
  ) {
    await publish.apply(this, args);
    throw new JournalError('ERR_JOURNAL_OUTCOME_UNKNOWN', 'internal details');
  });
}

test('a publish of which nobody knows the outcome is a 503 that says how to repeat it safely', async () => {
  loseNextAnswer();
  const { response, text } = await publish({});
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('5');
  expect(response.headers.get('content-type')).toMatch(/^application\/problem\+json/);
  const { detail } = JSON.parse(text);
  expect(detail).toMatch(/^Whether this was published is not known/);
  expect(detail).toMatch(/same Idempotency-Key, or with the same id/);
  expect(detail).not.toMatch(/internal details/);
  // The operator is told what the journal has said.
  expect(log.mock.calls.flat().join('\n')).toMatch(/internal details/);
});

test('repeated with the same id after that, it is published once', async () => {
  loseNextAnswer();
  expect((await publish({ id: 'mine' })).response.status).toBe(503);
  expect(await publish({ id: 'mine' })).toMatchObject({ text: 'mine', response: { status: 200 } });
  expect(await timesPublished()).toBe(1);
});

test('repeated under the same Idempotency-Key after that, it is published once', async () => {
  const key = { 'Idempotency-Key': 'k' };
  loseNextAnswer();
  expect((await publish({}, key)).response.status).toBe(503);
  const { response, text } = await publish({}, key);
  expect(response.status).toBe(200);
  expect(await publish({}, key)).toMatchObject({ text });
  expect(await timesPublished()).toBe(1);
});

/** How often the update is there. */
async function timesPublished(): Promise<number | undefined> {
  await publish({ data: 'end' });
  const stream = await fetch(`${service.url}/hub?topic=a&lastEventID=earliest`);
  let received = '';
  for await (const chunk of stream.body as unknown as AsyncIterable<Uint8Array>) {
    received += Buffer.from(chunk).toString();
    if (received.includes('data: end')) break;
  }
  return received.match(/^data: once$/gm)?.length;
}

test('a key that is taken is a 422', async () => {
  jest
    .spyOn(Hub.prototype, 'publish')
    .mockRejectedValueOnce(
      new JournalError('ERR_KEY_TAKEN', 'The key was used with another body.'),
    );
  const { response, text } = await publish({});
  expect(response.status).toBe(422);
  expect(JSON.parse(text).detail).toMatch(/another body/);
});
