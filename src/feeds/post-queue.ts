import { type Journal, JournalError } from '../journal/journal.js';
import type { Log } from '../log.js';
import { type ChatMessage, encodeMessage } from './message-list.js';

/** The topic of all messages, in a journal that holds nothing else. */
export const CHAT_TOPIC = 'chat';

/** A message that the chat does not take for now. Its text is for the user. */
export class ChatError extends Error {
  readonly code: 'ERR_CHAT_BUSY' | 'ERR_CHAT_UNAVAILABLE';

  constructor(code: ChatError['code'], message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ChatError';
    this.code = code;
  }
}

interface Post {
  readonly data: string;
  resolve(): void;
  reject(error: ChatError): void;
}

/**
 * One commit takes so many messages, or so many UTF-16 units of them; at least one. A database that trims
 * reuses what the commits before have let go, so that small commits keep its file small.
 */
const MAX_COMMIT_POSTS = 100;
const MAX_COMMIT_LENGTH = 256 * 1024;

/** UTF-16 units of messages that wait for their commit. Beyond that a post is refused with ERR_CHAT_BUSY. */
const MAX_WAITING_LENGTH = 8 * 1024 * 1024;

/** Posts on their way into the journal, one commit at a time. What waits is bounded. */
export class PostQueue {
  readonly #journal: Journal;
  readonly #log: Log;
  #waiting: Post[] = [];
  #waitingLength = 0;
  #running: Promise<void> | undefined;
  #isFailing = false;

  constructor(journal: Journal, log: Log) {
    this.#journal = journal;
    this.#log = log;
  }

  /**
   * Resolves when the message is durable, as the journal has it.
   *
   * @throws {ChatError} ERR_CHAT_BUSY: too much waits already. ERR_CHAT_UNAVAILABLE: it could not be kept.
   */
  add(message: ChatMessage): Promise<void> {
    const data = encodeMessage(message);
    if (this.#waitingLength + data.length > MAX_WAITING_LENGTH) {
      return Promise.reject(
        new ChatError(
          'ERR_CHAT_BUSY',
          'Too many messages wait to be kept. Yours was not: send it again in a moment.',
        ),
      );
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ data, resolve, reject });
      this.#waitingLength += data.length;
      this.#running ??= this.#run();
    });
  }

  /** Resolves when all that was added has been kept or refused. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    await undefined; // Whatever is posted in this turn shares the first commit.
    while (this.#waiting.length > 0) await this.#commit(this.#take());
    this.#running = undefined;
  }

  async #commit(posts: readonly Post[]): Promise<void> {
    const topics = [CHAT_TOPIC];
    try {
      await this.#journal.append(posts.map(({ data }) => ({ topics, data, private: true })));
    } catch (error) {
      // Once, and not for each message: strangers decide how many there are.
      if (!this.#isFailing) {
        const message = `The chat cannot keep messages. ${String(error)}`;
        this.#log({ level: 'error', event: 'chat-failing', message, error });
      }
      this.#isFailing = true;
      for (const post of posts) post.reject(unavailable(error));
      return;
    }
    if (this.#isFailing) {
      this.#log({ level: 'info', event: 'chat-back', message: 'The chat keeps messages again.' });
    }
    this.#isFailing = false;
    for (const post of posts) post.resolve();
  }

  #take(): Post[] {
    let length = 0;
    let count = 0;
    for (const { data } of this.#waiting.slice(0, MAX_COMMIT_POSTS)) {
      if (count > 0 && length + data.length > MAX_COMMIT_LENGTH) break;
      length += data.length;
      count += 1;
    }
    this.#waitingLength -= length;
    return this.#waiting.splice(0, count);
  }
}

/** What the journal says is for the operator, and in the log; strangers are told what it means for them. */
function unavailable(cause: unknown): ChatError {
  const code = cause instanceof JournalError ? cause.code : undefined;
  return new ChatError('ERR_CHAT_UNAVAILABLE', REASONS.get(code) ?? NOT_KEPT, { cause });
}

const NOT_KEPT =
  "The chat's journal cannot be written, as on a full disk. The message was not kept: send it again later.";

const REASONS = new Map<string | undefined, string>([
  ['ERR_JOURNAL_CLOSED', 'The chat is closing. The message was not kept: send it again later.'],
  [
    'ERR_JOURNAL_OUTCOME_UNKNOWN',
    "The chat's journal did not answer in time. Whether the message was kept is not known.",
  ],
]);
