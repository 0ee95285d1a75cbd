import { byTestId } from './dom.js';
import { isServed } from './feeds.js';

/** Writes the examples with this server's own address, ready to paste. */
export function startSnippets(): void {
  const { origin } = location;
  if (isServed('stream')) {
    write(
      'snippet-browser',
      `const stream = new EventSource('/stream');
stream.addEventListener('currentTime', (event) => {
  console.log(event.data);
});`,
    );
    write('snippet-listen', `curl -N ${origin}/stream`);
  } else {
    write(
      'snippet-browser',
      `const stream = new EventSource('/hub?topic=news');
stream.addEventListener('message', (event) => {
  console.log(event.data);
});`,
    );
    write('snippet-listen', `curl -N '${origin}/hub?topic=news'`);
  }
  write(
    'snippet-send',
    isServed('chat')
      ? `curl '${origin}/message?id=curl' \\
  -H 'Content-Type: application/json' \\
  -d '{"message":"Hi"}'`
      : `curl -d topic=news -d data=Hi \\
  -H "Authorization: Bearer $TOKEN" \\
  ${origin}/hub`,
  );
}

function write(testId: string, text: string): void {
  const code = byTestId(testId);
  code.textContent = text;
  const button = code.closest('figure')?.querySelector('button');
  // The clipboard is there for secure origins only.
  if (!button || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener('click', async () => {
    await navigator.clipboard.writeText(text).then(
      () => flash(button, 'Copied'),
      () => flash(button, 'Not allowed'),
    );
  });
}

function flash(button: HTMLButtonElement, text: string): void {
  button.textContent = text;
  setTimeout(() => {
    button.textContent = 'Copy';
  }, 1_500);
}
