export interface ChatMessage {
  user_id: string;
  message: string;
}

/** The server keeps no more than this; neither does the page. */
const maxMessages = 100;

interface SentMessage extends ChatMessage {
  /** How many messages like it the list must hold for this one to be among them. */
  ordinal: number;
}

/**
 * The messages to show: the server's list, and what was sent from here and is not in it yet.
 *
 * The server tells everybody of a new message but its sender, so the sender adds it. The answer to
 * the sender and the list after somebody else's message travel over different connections and
 * arrive in either order; counting equal messages keeps one from being shown twice, or from
 * vanishing under a list that was made before it.
 */
export class ChatList {
  #received: ChatMessage[] = [];
  #sent: SentMessage[] = [];

  /** The list as the server has sent it. */
  receive(messages: ChatMessage[]): void {
    this.#received = messages;
    this.#sent = this.#sent.filter((sent) => count(messages, sent) < sent.ordinal);
  }

  /** Call before a message is sent, and what it returns when the server has accepted it. */
  prepare(message: ChatMessage): () => void {
    const ordinal = count(this.shown(), message) + 1;
    return () => {
      if (count(this.#received, message) < ordinal) this.#sent.push({ ...message, ordinal });
    };
  }

  /** Call when the connection is lost: the next list is complete, whatever was sent before it. */
  settle(): void {
    this.#received = this.shown();
    this.#sent = [];
  }

  shown(): ChatMessage[] {
    return [...this.#received, ...this.#sent].slice(-maxMessages);
  }
}

function count(messages: ChatMessage[], wanted: ChatMessage): number {
  return messages.filter(
    ({ user_id, message }) => user_id === wanted.user_id && message === wanted.message,
  ).length;
}
