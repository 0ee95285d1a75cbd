import { encodeFrame } from '../sse/frame.js';

/** A message as it stands in the list that readers receive. */
export interface ChatMessage {
  readonly user_id: string;
  readonly message: string;
}

/** The list holds at most so many of the newest messages… */
export const MAX_MESSAGES = 100;
/** …and no more than fit into so many bytes of JSON. The largest message takes less than half of them. */
export const MAX_LIST_BYTES = 64 * 1024;

/**
 * The newest messages, as one frame: a JSON array. The oldest leave first. Versions count the messages, so that a
 * reader's place in the chat is one number.
 */
export class MessageList {
  /** Each message as JSON, the oldest first: a frame joins them, and nothing is encoded twice. */
  readonly #messages: { readonly json: string; readonly bytes: number }[] = [];
  /** Of the array: its opening bracket, and a comma or the closing bracket after each message. */
  #bytes = 1;
  #version = 0;
  #newestUser: string | undefined;
  /** The version at the newest message that is not by `#newestUser`. */
  #versionByOthers = 0;
  #frame: Buffer | undefined;

  get version(): number {
    return this.#version;
  }

  add(message: ChatMessage): void {
    const json = encodeMessage(message);
    const bytes = Buffer.byteLength(json) + 1;
    this.#messages.push({ json, bytes });
    this.#bytes += bytes;
    while (this.#messages.length > MAX_MESSAGES || this.#bytes > MAX_LIST_BYTES) {
      this.#bytes -= this.#messages.shift()?.bytes ?? 0;
    }
    if (message.user_id !== this.#newestUser) this.#versionByOthers = this.#version;
    this.#newestUser = message.user_id;
    this.#version += 1;
    this.#frame = undefined;
  }

  /** The version at the newest message that is not this user's own. */
  versionFor(userId: string): number {
    return userId === this.#newestUser ? this.#versionByOthers : this.#version;
  }

  /** The list as a frame. It is made when it is asked for, once for all readers of a version. */
  frame(): Buffer {
    this.#frame ??= Buffer.from(
      encodeFrame({ data: `[${this.#messages.map(({ json }) => json).join(',')}]` }),
    );
    return this.#frame;
  }
}

export function encodeMessage({ user_id, message }: ChatMessage): string {
  return JSON.stringify({ user_id, message });
}

/** The message that a journal's entry holds; none if it is something else. */
export function decodeMessage(data: string): ChatMessage | undefined {
  try {
    const { user_id, message } = JSON.parse(data);
    return typeof user_id === 'string' && typeof message === 'string'
      ? { user_id, message }
      : undefined;
  } catch {
    return undefined;
  }
}
