import type { Hub } from '../hub/hub.js';
import { HUB_PATH } from '../hub/path.js';
import { Audience } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import { encodeFrame } from '../sse/frame.js';

/** A message as it stands in the list that listeners receive. */
export interface ChatMessage {
  readonly user_id: string;
  readonly message: string;
}

export interface Chat {
  /** Adds a message to the list, which is then sent to everybody but the message's user. */
  post(message: ChatMessage): Promise<void>;
  /** Sends the list at once, and again after every message of another user. */
  join(stream: EventStream, userId: string): void;
}

/** The list holds this many of the latest messages. */
const MAX_MESSAGES = 100;

/** The hub's own, so that nobody else publishes there; private, so that the chat is read as a chat alone. */
const TOPIC = `${HUB_PATH}/chat`;

/**
 * The chat: a bounded list of messages, sent whole as one unnamed event, a JSON array. A message is an update
 * of the hub, so the list outlives the process and is the same on all that share a journal.
 */
export async function openChat(hub: Hub): Promise<Chat> {
  /** One audience for each user, so that a sender's can be left out. */
  const audiences = new Map<string, Audience>();
  const messages: ChatMessage[] = [];
  /** The list as a frame: encoded once, for all receivers until the next message. */
  let list = encodeList(messages);

  function add(message: ChatMessage): void {
    messages.push(message);
    if (messages.length > MAX_MESSAGES) messages.shift();
    list = encodeList(messages);
    for (const [userId, audience] of audiences) {
      if (userId !== message.user_id) audience.sendBytes(list);
    }
  }

  function audienceOf(userId: string): Audience {
    const existing = audiences.get(userId);
    if (existing !== undefined) return existing;
    const audience = new Audience({
      // The list supersedes all before it: who missed some needs the latest, no more.
      onResume: (stream) => stream.sendBytes(list),
      onEmpty: () => audiences.delete(userId),
    });
    audiences.set(userId, audience);
    return audience;
  }

  await hub.observe(TOPIC, MAX_MESSAGES, ({ data }) => add(JSON.parse(data)));
  return {
    async post(message) {
      await hub.publish([{ topics: [TOPIC], data: JSON.stringify(message), private: true }]);
    },

    join(stream, userId) {
      stream.sendBytes(list);
      audienceOf(userId).add(stream);
    },
  };
}

function encodeList(messages: readonly ChatMessage[]): Buffer {
  return Buffer.from(encodeFrame({ data: JSON.stringify(messages) }));
}
