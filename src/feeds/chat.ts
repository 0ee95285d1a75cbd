import type { Entry, Journal } from '../journal/journal.js';
import { type JournalOptions, openJournal } from '../journal/open.js';
import { DEFAULT_PREFIX, isRedis } from '../journal/redis/url.js';
import type { Log } from '../log.js';
import type { EventStream } from '../sse/event-stream.js';
import { followMessages } from './follow-messages.js';
import { type ChatMessage, decodeMessage, MAX_MESSAGES, MessageList } from './message-list.js';
import { ChatError, PostQueue } from './post-queue.js';
import { Readers } from './readers.js';

export interface Chat {
  /** Why the chat cannot be used at all: its journal could not be opened. */
  readonly failure: ChatError | undefined;
  /**
   * Adds a message to the list, which is then sent to everybody but the message's user. Resolves when the message
   * is durable.
   *
   * @throws {ChatError}
   */
  post(message: ChatMessage): Promise<void>;
  /**
   * Sends the list at once, and again after every message of another user. Messages that come together, or faster
   * than lists can be sent, come in one list.
   */
  join(stream: EventStream, userId: string): void;
  /** Keeps what was posted, and lets go of the journal. */
  close(): Promise<void>;
}

export interface ChatOptions extends Pick<JournalOptions, 'sync' | 'prefix' | 'replicas'> {
  /** The hub's journal, as a URL. The chat has a journal of its own, of the same kind: see {@link journalFor}. */
  readonly hubJournal: string;
  readonly log: Log;
}

/**
 * The chat: a bounded list of messages, sent whole as one unnamed event, a JSON array. Anybody may post, so it
 * shares nothing with the hub that it could use up: it has a small journal of its own. A message comes into the
 * list when the journal is followed to have it, so the list outlives the process and is the same on all that share
 * a journal.
 */
export async function openChat({ hubJournal, log, ...rest }: ChatOptions): Promise<Chat> {
  let journal: Journal | undefined;
  try {
    const retention = { maxUpdates: MAX_MESSAGES, maxAgeMs: 0 };
    const { url, prefix } = journalFor(hubJournal, rest.prefix);
    journal = await openJournal(url, { ...rest, ...retention, prefix, onNotice: log });
    return await chatOver(journal, log);
  } catch (error) {
    await journal?.close();
    // The chat is a guest: without it the service still has all else to serve.
    const message = `The chat is not available. ${String(error)}`;
    log({ level: 'error', event: 'chat-unavailable', message, error });
    return unavailableChat(error);
  }
}

/** `memory:` beside `memory:`; in Redis other keys; a directory `chat` in the hub's own, where this process may write. */
function journalFor(
  hubJournal: string,
  hubPrefix = DEFAULT_PREFIX,
): { readonly url: string; readonly prefix: string } {
  const prefix = `${hubPrefix}:chat`;
  const isDirectory = hubJournal !== 'memory:' && !isRedis(hubJournal);
  return { url: isDirectory ? `${hubJournal.replace(/\/+$/, '')}/chat` : hubJournal, prefix };
}

async function chatOver(journal: Journal, log: Log): Promise<Chat> {
  const list = new MessageList();
  const readers = new Readers(list);
  const posts = new PostQueue(journal, log);

  function receive(entries: readonly Entry[]): void {
    for (const { data } of entries) {
      const message = decodeMessage(data);
      if (message !== undefined) list.add(message);
    }
    readers.update();
  }

  await followMessages(journal, receive, log);
  return {
    failure: undefined,
    post: (message) => posts.add(message),
    join: (stream, userId) => readers.add(stream, userId),
    async close() {
      await posts.settled();
      await journal.close();
    },
  };
}

function unavailableChat(cause: unknown): Chat {
  const failure = new ChatError(
    'ERR_CHAT_UNAVAILABLE',
    "The chat's journal could not be opened when the service started; its log says why.",
    { cause },
  );
  return {
    failure,
    post: () => Promise.reject(failure),
    join: () => {
      throw failure;
    },
    close: async () => undefined,
  };
}
