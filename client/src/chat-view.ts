import type { ChatMessage } from './chat-list.js';
import { byTestId, make, one } from './dom.js';

const list = byTestId<HTMLOListElement>('chat-list');
export const chatScroller = one('#chat-scroller');
const empty = one('#chat-empty');

let shown: readonly ChatMessage[] = [];

/**
 * Changes the list on the page into these messages. What stays is not touched, so that a screen
 * reader announces new messages only, and a selection survives.
 */
export function showMessages(messages: readonly ChatMessage[], user: string): void {
  const gone = countGone(shown, messages);
  for (let index = 0; index < gone; index += 1) list.firstElementChild?.remove();
  list.append(...messages.slice(shown.length - gone).map(itemFor));
  shown = messages;

  for (const [index, item] of [...list.children].entries()) {
    const author = messages[index]?.user_id;
    item.classList.toggle('own', author === user);
    item.classList.toggle('follows', index > 0 && author === messages[index - 1]?.user_id);
  }
  empty.hidden = messages.length > 0;
}

/** Scrolls to the newest message, which is where the layout of the list begins. */
export function showNewest(): void {
  chatScroller.scrollTop = 0;
}

/** How many to take from the front, so that the rest is how the new list begins. */
function countGone(before: readonly ChatMessage[], after: readonly ChatMessage[]): number {
  for (let gone = 0; gone < before.length; gone += 1) {
    const rest = before.slice(gone);
    if (rest.every((message, index) => isSame(message, after[index]))) return gone;
  }
  return before.length;
}

function isSame(one: ChatMessage, other: ChatMessage | undefined): boolean {
  return one.user_id === other?.user_id && one.message === other.message;
}

function itemFor({ user_id, message }: ChatMessage): HTMLLIElement {
  return make('li', '', make('span', 'author', user_id), ' ', make('p', 'bubble', message));
}
