import { byTestId, make, one, scrollByKeyboard } from './dom.js';
import { shorten } from './log.js';

const maxItems = 100;
const maxDataLength = 4_000;

const list = byTestId<HTMLOListElement>('hub-events');
const empty = one('#hub-empty');

/** What the hub tells of updates that it cannot send any more. */
interface Gap {
  lastEventID: string;
  /** The id of the oldest update that is held; null if there is none. */
  oldest: string | null;
  reason: keyof typeof causes;
}

/** Why updates are missing, said to a reader who was last sent some id. */
const causes = {
  trimmed: (id: string) => `the server no longer holds everything that came after ${id}.`,
  unknown: (id: string) =>
    `the server does not know ${id}, the last id seen here, so it cannot tell which.`,
  damaged: (id: string) => `the server cannot read some of what came after ${id}.`,
  withheld: (id: string) =>
    `the server tells what came after ${id} only to clients with a token. New updates follow.`,
};

export function startHubView(): void {
  scrollByKeyboard(one('#hub-scroller'));
}

/** Adds an update, or a gap, on top; the oldest goes when there are too many. */
export function showUpdate(event: MessageEvent<string>): void {
  const gap = event.type === 'gap' ? parseGap(event.data) : undefined;
  const item = gap === undefined ? itemFor(event) : itemForGap(gap);
  item.dataset.event = event.type;
  list.prepend(item);
  while (list.children.length > maxItems) list.lastElementChild?.remove();
  empty.hidden = true;
}

/** Takes all away and says instead what there is to expect. */
export function clearUpdates(expectation: string): void {
  list.replaceChildren();
  empty.textContent = expectation;
  empty.hidden = false;
}

function itemFor({ type, lastEventId, data }: MessageEvent<string>): HTMLLIElement {
  return make(
    'li',
    '',
    make('span', 'update-type', type),
    ' ',
    make('code', 'update-id', lastEventId),
    ' ',
    make('span', 'update-time', new Date().toLocaleTimeString('en-GB')),
    ' ',
    make('p', 'update-data', shorten(data, maxDataLength)),
  );
}

function itemForGap({ lastEventID, oldest, reason }: Gap): HTMLLIElement {
  const cause = causes[reason](lastEventID);
  return make(
    'li',
    'gap',
    make('span', 'update-type', 'gap'),
    ' ',
    make('span', 'update-time', new Date().toLocaleTimeString('en-GB')),
    ' ',
    make('p', 'update-data', `Updates were missed: ${cause}${restOf(reason, oldest)}`),
  );
}

/** What the server holds. Of what is withheld it says nothing. */
function restOf(reason: Gap['reason'], oldest: string | null): string {
  if (reason === 'withheld') return '';
  return oldest === null ? ' It holds no update now.' : ` The oldest that it holds is ${oldest}.`;
}

/** A publisher may call its own updates gaps as well; those are shown as they are. */
function parseGap(data: string): Gap | undefined {
  try {
    const gap: Partial<Gap> | null = JSON.parse(data);
    const isKnown = typeof gap?.reason === 'string' && Object.hasOwn(causes, gap.reason);
    return isKnown ? (gap as Gap) : undefined;
  } catch {
    return undefined;
  }
}
