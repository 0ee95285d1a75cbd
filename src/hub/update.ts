import { isPosition, type Update } from '../journal/journal.js';
import { encodeFrame, FrameError } from '../sse/frame.js';

/** What every journal can keep and every frame can carry, in bytes of UTF-8. */
export const MAX_TOPIC_BYTES = 1_024;
export const MAX_ID_BYTES = 256;
export const MAX_TYPE_BYTES = 256;
export const MAX_TOPICS_PER_UPDATE = 100;

/** An update that cannot be published. Its message begins with the field and says what is wrong. */
export class UpdateError extends TypeError {
  readonly code = 'ERR_UPDATE';
  /** Which of the updates that were handed over it is, from 0. */
  index = 0;
}

/** An update as it is handed to the hub: public, unless it says otherwise. */
export type Publication = Omit<Update, 'private'> & Partial<Pick<Update, 'private'>>;

/** Updates that can be kept and sent. Who has made them may rely on it, and need not look again. */
export class ValidUpdates {
  readonly list: readonly Update[];

  /** @throws {UpdateError} for the first that cannot be kept or sent. */
  constructor(publications: readonly Publication[]) {
    this.list = publications.map((publication, index) => {
      const update = { ...publication, private: publication.private ?? false };
      try {
        assertUpdate(update);
      } catch (error) {
        if (error instanceof UpdateError) error.index = index;
        throw error;
      }
      return update;
    });
  }

  /** The same updates as one publisher's, with own ids in its scope. */
  publishedBy({ publisher, scope }: Pick<Update, 'publisher' | 'scope'>): ValidUpdates {
    const copy: ValidUpdates = Object.create(ValidUpdates.prototype);
    return Object.assign(copy, {
      list: this.list.map((update) => ({ ...update, publisher, scope })),
    });
  }
}

function assertUpdate({ topics, data, id, type, retry }: Update): void {
  if (!Array.isArray(topics) || topics.length === 0) throw new UpdateError('topic is missing');
  if (topics.length > MAX_TOPICS_PER_UPDATE) {
    throw new UpdateError(`topic is given more than the ${MAX_TOPICS_PER_UPDATE} times allowed`);
  }
  if (topics.length > 1 && new Set(topics).size < topics.length)
    throw new UpdateError('topic is given twice');
  for (const topic of topics) assertText('topic', topic, MAX_TOPIC_BYTES);
  if (typeof data !== 'string') throw new UpdateError(`data is a string, not ${typeof data}`);
  if (id !== undefined) assertId(id);
  if (type !== undefined) assertLine('type', type, MAX_TYPE_BYTES);
  if (retry === undefined) return;
  try {
    encodeFrame({ retry });
  } catch (error) {
    throw error instanceof FrameError ? new UpdateError(error.message, { cause: error }) : error;
  }
}

function assertId(id: string): void {
  assertLine('id', id, MAX_ID_BYTES);
  // It comes back in a header, which loses them.
  if (id.trim() !== id) throw new UpdateError('id begins or ends with a space');
  if (id.startsWith('#')) throw new UpdateError('id must not start with #');
  if (id === 'earliest') {
    throw new UpdateError('id must not be earliest, which means all that is held');
  }
  if (isPosition(id)) throw new UpdateError('id has the form of those that the hub gives');
}

function assertLine(field: 'id' | 'type', text: string, maxBytes: number): void {
  assertText(field, text, maxBytes);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
  if (/[\x00-\x1f\x7f]/.test(text)) throw new UpdateError(`${field} contains a control character`);
}

function assertText(field: 'topic' | 'id' | 'type', text: string, maxBytes: number): void {
  if (typeof text !== 'string' || text === '') throw new UpdateError(`${field} is empty`);
  if (Buffer.byteLength(text) > maxBytes) {
    throw new UpdateError(`${field} is longer than the ${maxBytes} bytes allowed`);
  }
}
