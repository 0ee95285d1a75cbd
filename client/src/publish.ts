import { answerTimeoutMs, failureOf, problemOf } from './answer.js';
import { byTestId, one } from './dom.js';
import { token } from './token.js';

const form = one<HTMLFormElement>('#publish-form');
const topicInput = byTestId<HTMLInputElement>('publish-topic');
const dataInput = byTestId<HTMLTextAreaElement>('publish-data');
const typeInput = byTestId<HTMLInputElement>('publish-type');
const privateInput = byTestId<HTMLInputElement>('publish-private');
const sendButton = byTestId<HTMLButtonElement>('publish-send');
const resultView = byTestId('publish-result');

interface Result {
  readonly isPublished: boolean;
  readonly text: string;
}

/** @param isHeard whether updates of a type would be shown, to those who wonder where theirs is. */
export function startPublish(isHeard: (type: string) => boolean): void {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (sendButton.disabled) return;
    const type = typeInput.value.trim();
    sendButton.disabled = true;
    const { isPublished, text } = await publish(type);
    sendButton.disabled = false;
    if (document.activeElement === document.body) sendButton.focus();
    const isUnheard = isPublished && !isHeard(type || 'message');
    show(isPublished, isUnheard ? `${text} Add ${type} to the event types to see it here.` : text);
  });
}

async function publish(type: string): Promise<Result> {
  const authorization: HeadersInit = token() === '' ? {} : { authorization: `Bearer ${token()}` };
  try {
    const response = await fetch('/hub', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...authorization },
      // The token in the field decides, not a cookie that an event stream has needed.
      credentials: 'omit',
      body: JSON.stringify({
        topic: topicInput.value.trim(),
        data: dataInput.value,
        type: type === '' ? undefined : type,
        private: privateInput.checked,
      }),
      signal: AbortSignal.timeout(answerTimeoutMs),
    });
    return response.ok
      ? { isPublished: true, text: `Published as ${await response.text()}.` }
      : { isPublished: false, text: await problemOf(response) };
  } catch (error) {
    return { isPublished: false, text: failureOf(error) };
  }
}

function show(isPublished: boolean, text: string): void {
  resultView.textContent = text;
  resultView.dataset.outcome = isPublished ? 'published' : 'refused';
}
