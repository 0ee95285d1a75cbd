import { answerTimeoutMs, problemOf } from './answer.js';
import { byTestId, one } from './dom.js';
import { clearUpdates, showUpdate, startHubView } from './hub-view.js';
import { startPublish } from './publish.js';
import { openPageStream, type PageStream } from './stream.js';
import { lendToken, startToken } from './token.js';

const form = one<HTMLFormElement>('#hub-form');
const topicsInput = byTestId<HTMLTextAreaElement>('hub-topics');
const typesInput = byTestId<HTMLInputElement>('hub-types');
const subscribeButton = byTestId<HTMLButtonElement>('hub-subscribe');
const stopButton = byTestId<HTMLButtonElement>('hub-stop');
const problemView = byTestId('hub-problem');

/** What the client says of the connection, under names that a server's events may have too. */
const namesOfClient = new Set(['open', 'error', 'statechange']);

interface HubSubscription {
  readonly types: ReadonlySet<string>;
  /** Where it goes on. */
  readonly address: () => string;
  readonly stream: PageStream;
}

let current: HubSubscription | undefined;

export function startHub(): void {
  startHubView();
  startToken(() => current?.stream.reopen());
  startPublish((type) => current === undefined || current.types.has(type));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    subscribe();
  });
  stopButton.addEventListener('click', stop);
}

function subscribe(): void {
  const topics = topicsOf(topicsInput.value);
  const types = new Set(['message', ...listOf(typesInput.value.split(','))]);
  const reserved = [...types].find((type) => namesOfClient.has(type));
  topicsInput.setAttribute('aria-invalid', `${topics.length === 0}`);
  typesInput.setAttribute('aria-invalid', `${reserved !== undefined}`);
  if (topics.length === 0) {
    showProblem('Name a topic first, or * for all.');
    topicsInput.focus();
    return;
  }
  if (reserved !== undefined) {
    showProblem(`Updates of the type ${reserved} cannot be told from the connection's own events.`);
    typesInput.focus();
    return;
  }
  stop();
  clearUpdates('Subscribed. Updates appear here as they are published.');
  current = open(topics, types);
  stopButton.disabled = false;
}

function stop(): void {
  current?.stream.close();
  current = undefined;
  // A button that is disabled would lose the focus to nowhere.
  if (document.activeElement === stopButton) subscribeButton.focus();
  stopButton.disabled = true;
  showProblem('');
}

function open(topics: readonly string[], types: ReadonlySet<string>): HubSubscription {
  const query = new URLSearchParams(topics.map((topic) => ['topic', topic]));
  // A stream that has given way to another window's goes on here when it comes back.
  let lastEventId = '';
  const address = () =>
    lastEventId === ''
      ? `/hub?${query}`
      : `/hub?${query}&lastEventID=${encodeURIComponent(lastEventId)}`;

  const stream = openPageStream({
    name: 'hub',
    address: () => {
      takeToken();
      return address();
    },
    types: [...new Set([...types, 'gap'])],
    onEvent: (event) => {
      lastEventId = event.lastEventId;
      showUpdate(event);
    },
    onState: (state) => {
      if (state === 'open') showProblem('');
      else takeToken();
      if (state === 'waiting') void explainRefusal();
    },
  });
  return { types, address, stream };
}

function takeToken(): void {
  if (lendToken()) return;
  showProblem(
    'The browser does not send the token: it is longer than a cookie can be, or cookies are off.',
  );
}

/**
 * An `EventSource` does not tell why it was refused, so the same is asked once more. What another
 * attempt will not change ends the subscription; of anything else the stream recovers by itself.
 */
async function explainRefusal(): Promise<void> {
  const refused = current;
  if (refused === undefined) return;
  try {
    const response = await fetch(refused.address(), {
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
    const problem = await reasonOf(response);
    // The answer may be an event stream by now, which would go on.
    if (response.ok) await response.body?.cancel();
    if (problem === '' || current !== refused) return;
    if (response.status < 500) stop();
    showProblem(problem);
  } catch {
    // No answer either.
  }
}

/** Why a stream does not go on; empty if it would. */
async function reasonOf(response: Response): Promise<string> {
  if (response.status === 204) return 'All of these topics have ended: nothing more comes.';
  return response.ok ? '' : problemOf(response);
}

/** One to a line or between commas, except for those of a URI template such as `{?page,size}`. */
function topicsOf(text: string): string[] {
  return listOf(text.split(/\n|,(?![^{}]*\})/));
}

function listOf(texts: readonly string[]): string[] {
  return texts.map((text) => text.trim()).filter((text) => text !== '');
}

function showProblem(text: string): void {
  problemView.textContent = text;
  problemView.hidden = text === '';
}
