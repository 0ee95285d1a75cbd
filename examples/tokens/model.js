// Where the text comes from: a generator of our own or, with OPENAI_BASE_URL, a server that speaks OpenAI's API.
import { setTimeout as delay } from 'node:timers/promises';
import { EventSourceParserStream } from 'eventsource-parser/stream';

const { OPENAI_BASE_URL, OPENAI_API_KEY, OPENAI_MODEL = 'gpt-4o-mini' } = process.env;
/** How long the model may be silent, at the start and between two tokens. */
const MAX_SILENCE_MS = Number(process.env.MAX_SILENCE_MS ?? 60_000);
const MAX_LENGTH = 100_000;
const MAX_TRIES = 3;
const MAX_WAIT_SECONDS = 20;

/** The model has failed. Its message is for everybody who watches; the cause is for the log. */
export class ModelError extends Error {}

/** Yields the text that the model writes, token by token. It throws ModelError. */
export const generate = OPENAI_BASE_URL ? askServer : inventText;

async function* askServer(prompt, signal) {
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), MAX_SILENCE_MS);
  try {
    const answer = await request(prompt, AbortSignal.any([signal, silence.signal]));
    const events = answer.body.pipeThrough(new TextDecoderStream()).pipeThrough(
      // Comments say that the model still thinks.
      new EventSourceParserStream({ onComment: () => timer.refresh(), maxBufferSize: 1024 * 1024 }),
    );
    let length = 0;
    let isFinished = false;
    for await (const { data } of events) {
      timer.refresh();
      if (data === '[DONE]') return;
      const { error, choices } = JSON.parse(data);
      if (error) throw new ModelError('The model has failed.', { cause: error });
      const [{ delta, finish_reason: reason } = {}] = choices ?? [];
      if (delta?.content) yield delta.content;
      length += delta?.content?.length ?? 0;
      if (length > MAX_LENGTH) throw new ModelError('The text became too long.');
      if (reason === 'length') throw new ModelError('The model may write no more than this.');
      if (reason === 'content_filter') throw new ModelError('The model refuses to go on.');
      isFinished ||= Boolean(reason);
    }
    if (!isFinished) throw new ModelError('The model broke off.');
  } catch (error) {
    if (error instanceof ModelError) throw error;
    if (silence.signal.aborted) throw new ModelError('The model is silent.', { cause: error });
    if (error instanceof SyntaxError) {
      throw new ModelError('The model cannot be understood.', { cause: error });
    }
    throw new ModelError('The connection to the model has failed.', { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Asks again where that helps; nothing of the answer has been used by then. */
async function request(prompt, signal) {
  for (let tries = 1; ; tries += 1) {
    const answer = await fetch(`${OPENAI_BASE_URL.replace(/\/+$/, '')}/chat/completions`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        ...(OPENAI_API_KEY && { Authorization: `Bearer ${OPENAI_API_KEY}` }),
      },
      body: JSON.stringify({
        model: OPENAI_MODEL,
        stream: true,
        messages: [{ role: 'user', content: prompt }],
      }),
      signal,
    });
    const { status } = answer;
    const isStream = answer.headers.get('Content-Type')?.startsWith('text/event-stream');
    if (status === 200 && isStream) return answer;
    const cause = `${status}: ${(await answer.text()).slice(0, 1_000)}`;
    const isBusy = status === 429 || status === 503;
    const waitSeconds = Number(answer.headers.get('Retry-After') ?? tries);
    const mayPass = isBusy || status >= 500;
    // A `Retry-After` that is a date is no number, and compares with none.
    if (!mayPass || tries === MAX_TRIES || !(waitSeconds <= MAX_WAIT_SECONDS)) {
      const message = isBusy ? 'The model is busy. Try again later.' : 'The model refuses.';
      throw new ModelError(message, { cause });
    }
    await delay(waitSeconds * 1_000, undefined, { signal });
  }
}

/** As fast as a model, and not as clever. */
async function* inventText(prompt, signal) {
  yield 'You ask: ';
  yield* `“${prompt}”\n\n`.match(/\s*\S+\s*/g);
  const subjects = ['the stream', 'a cursor', 'the journal', 'a slow reader', 'the last id'];
  const verbs = ['waits for', 'follows', 'remembers', 'ends before', 'comes back to'];
  for (let sentence = 0; sentence < 12; sentence += 1) {
    const subject = subjects[sentence % subjects.length];
    const verb = verbs[Math.floor(Math.random() * verbs.length)];
    const object = subjects[(sentence + 1 + Math.floor(Math.random() * 4)) % subjects.length];
    for (const word of `${subject} ${verb} ${object}`.split(/(?= )/)) {
      await delay(15 + Math.random() * 30, undefined, { signal });
      yield word;
    }
    yield sentence % 4 === 3 ? '.\n' : '; ';
  }
}
