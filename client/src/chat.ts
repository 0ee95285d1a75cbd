import { answerTimeoutMs, failureOf, problemOf } from './answer.js';
import { ChatList, type ChatMessage } from './chat-list.js';
import { chatScroller, showMessages, showNewest } from './chat-view.js';
import { byTestId, one, scrollByKeyboard } from './dom.js';
import { openPageStream, type PageStream } from './stream.js';
import { loadUser, saveUser } from './user.js';

const userInput = byTestId<HTMLInputElement>('chat-user');
const messageInput = byTestId<HTMLTextAreaElement>('chat-input');
const sendButton = byTestId<HTMLButtonElement>('chat-send');
const form = one<HTMLFormElement>('#chat-form');
const errorView = byTestId('chat-error');

const list = new ChatList();
/** Other windows of this browser in which the same user may be chatting. */
const siblings = new BroadcastChannel('chat-sent');

let user = loadUser();
let stream: PageStream;

export function startChat(): void {
  scrollByKeyboard(chatScroller);
  userInput.value = user;
  stream = openPageStream({
    name: 'chat',
    address: () => `/messages?id=${encodeURIComponent(user)}`,
    types: ['message'],
    onEvent: (event) => {
      list.receive(JSON.parse(event.data));
      render();
    },
    onLost: () => list.settle(),
  });

  userInput.addEventListener('change', takeUser);
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void send();
  });
  messageInput.addEventListener('keydown', (event) => {
    // While an input method is composing, Enter chooses a word.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  messageInput.addEventListener('input', () => showError(''));
  siblings.addEventListener('message', ({ data }: MessageEvent<ChatMessage>) => {
    // The server takes this window for the sender as well, and does not tell it.
    if (data.user_id === user) add(list.prepare(data));
  });
}

function takeUser(): void {
  const wanted = userInput.value.trim();
  userInput.value = wanted === '' ? user : wanted;
  if (userInput.value === user) return;
  user = userInput.value;
  saveUser(user);
  list.settle();
  stream.reopen();
  render();
}

async function send(): Promise<void> {
  if (sendButton.disabled) return;
  takeUser();
  // As the server trims it: it is this text that comes back in the list.
  const text = messageInput.value.trim();
  if (text === '') {
    showError('Write a message first.');
    return;
  }
  const message: ChatMessage = { user_id: user, message: text };
  const accept = list.prepare(message);
  sendButton.disabled = true;
  const problem = await post(message);
  sendButton.disabled = false;
  messageInput.focus();
  if (problem !== undefined) {
    showError(problem);
    return;
  }
  showError('');
  if (messageInput.value.trim() === text) messageInput.value = '';
  add(accept);
  showNewest();
  siblings.postMessage(message);
}

/** Resolves to what went wrong, in words for the user, or to nothing. */
async function post({ user_id, message }: ChatMessage): Promise<string | undefined> {
  try {
    const response = await fetch(`/message?id=${encodeURIComponent(user_id)}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ message }),
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
    return response.ok ? undefined : await problemOf(response);
  } catch (error) {
    return failureOf(error);
  }
}

function showError(text: string): void {
  errorView.textContent = text;
  errorView.hidden = text === '';
  messageInput.setAttribute('aria-invalid', `${text !== ''}`);
}

function add(accept: () => void): void {
  accept();
  render();
}

function render(): void {
  showMessages(list.shown(), user);
}
