import { Audience } from '../sse/audience.js';
import type { EventStream } from '../sse/event-stream.js';
import { encodeFrame } from '../sse/frame.js';

/** A message as it stands in the list that listeners receive. */
export interface ChatMessage {
  readonly user_id: string;
  readonly message: string;
}

export interface Chat {
  /** Appends a message to the list and sends the list to everybody but the message's user. */
  post(message: ChatMessage): void;
  /** Sends the list at once, and again after every message of another user. */
  join(stream: EventStream, userId: string): void;
}

/** The list holds this many of the latest messages. */
const MAX_MESSAGES = 100;

/** The chat: a bounded list of messages, sent whole as one unnamed event, a JSON array. */
export function createChat(): Chat {
  const messages: ChatMessage[] = [];
  /** One audience for each user, so that a sender's can be left out. */
  const audiences = new Map<string, Audience>();

  /** The list as a frame: encoded once, for all receivers until the next message. */
  let list = encodeList(messages);

  function audienceOf(userId: string): Audience {
    let audience = audiences.get(userId);
    if (audience === undefined) {
      // The list supersedes all before it: who missed some needs the latest, no more.
      audience = new Audience({ onResume: (stream) => stream.sendBytes(list) });
      audiences.set(userId, audience);
    }
    return audience;
  }

  return {
    post(message) {
      messages.push(message);
      if (messages.length > MAX_MESSAGES) messages.shift();
      list = encodeList(messages);
      for (const [userId, audience] of audiences) {
        if (userId !== message.user_id) audience.sendBytes(list);
      }
    },

    join(stream, userId) {
      stream.sendBytes(list);
      const audience = audienceOf(userId).add(stream);
      stream.on('close', () => {
        if (audience.size === 0) audiences.delete(userId);
      });
    },
  };
}

function encodeList(messages: readonly ChatMessage[]): Buffer {
  return Buffer.from(encodeFrame({ data: JSON.stringify(messages) }));
}
