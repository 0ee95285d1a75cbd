import { byTestId, make, one, scrollByKeyboard } from './dom.js';

const maxRows = 200;
/** The whole chat comes in one event; a row shows its beginning. */
const maxDataLength = 600;

const rows = byTestId<HTMLTableSectionElement>('log');
const pauseButton = byTestId<HTMLButtonElement>('log-pause');
const clearButton = byTestId<HTMLButtonElement>('log-clear');
const note = byTestId('log-note');

let paused = false;
let missed = 0;

/** Adds a row on top for an event; the oldest row goes when there are too many. */
export function logEvent(stream: string, event: MessageEvent<string>): void {
  if (paused) {
    missed += 1;
    showNote();
    return;
  }
  rows.prepend(rowFor(stream, event));
  while (rows.rows.length > maxRows) rows.deleteRow(-1);
  showNote();
}

export function startLog(): void {
  scrollByKeyboard(one('#log-scroller'));
  pauseButton.addEventListener('click', () => {
    paused = !paused;
    missed = 0;
    pauseButton.textContent = paused ? 'Resume' : 'Pause';
    showNote();
  });
  clearButton.addEventListener('click', () => {
    rows.replaceChildren();
    missed = 0;
    showNote();
  });
  showNote();
}

function rowFor(stream: string, event: MessageEvent<string>): HTMLTableRowElement {
  const row = make(
    'tr',
    '',
    make('td', 'log-time', new Date().toLocaleTimeString('en-GB')),
    make('td', 'log-stream', stream),
    make('td', 'log-event', event.type),
    make('td', 'log-id', event.lastEventId),
    make('td', 'log-data', shorten(event.data, maxDataLength)),
  );
  row.dataset.event = event.type;
  row.dataset.stream = stream;
  return row;
}

/** The beginning of a long text, and how long it is. */
export function shorten(data: string, maxLength: number): string {
  if (data.length <= maxLength) return data;
  return `${data.slice(0, maxLength)}… (${data.length.toLocaleString('en')} characters)`;
}

function showNote(): void {
  if (paused) {
    note.textContent = `Paused. ${missed === 1 ? '1 event' : `${missed} events`} not shown.`;
  } else if (rows.rows.length === 0) {
    note.textContent = 'Nothing yet.';
  } else {
    note.textContent = `Newest first; the last ${maxRows} are kept.`;
  }
}
