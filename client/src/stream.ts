import { SseClient, type SseState } from './client.js';
import { occupySlot, type TenantName } from './connection-slots.js';
import { byTestId, make } from './dom.js';
import { logEvent } from './log.js';

export interface PageStreamOptions {
  /**
   * Names the stream in the log, and its state in the page: `state-<name>`. Where connections are
   * scarce it says which stream comes first; see connection-slots.ts.
   */
  name: TenantName;
  /** Asked each time the stream is opened. */
  address: () => string;
  /** The event types to listen for. `message` stands for events without a type. */
  types: readonly string[];
  onEvent(event: MessageEvent<string>): void;
  /** The connection was lost; it comes back by itself. */
  onLost?(): void;
  /** The connection is in another state than before. */
  onState?(state: SseState): void;
}

export interface PageStream {
  /** Ends the connection and opens one to the address of now. */
  reopen(): void;
  /** Ends the stream for good, and leaves its connection to others. */
  close(): void;
}

/** Opens a stream as soon as a connection is free for it, logs its events and shows its state. */
export function openPageStream(options: PageStreamOptions): PageStream {
  const showState = stateView(options.name);
  const leaving = new AbortController();
  let client: SseClient | undefined;

  const close = () => {
    const closing = client;
    client = undefined;
    closing?.close();
  };
  const open = () => {
    close();
    const opened = new SseClient(options.address());
    for (const type of options.types) {
      opened.addEventListener(type, (event) => {
        logEvent(options.name, event);
        options.onEvent(event);
      });
    }
    opened.addEventListener('statechange', () => {
      if (opened !== client) return;
      showState(client);
      options.onState?.(client.state);
    });
    opened.addEventListener('error', () => options.onLost?.());
    client = opened;
    showState(client);
  };

  const tenant = {
    name: options.name,
    onEnter: open,
    onWait: () => {
      // Another stream may be shown in this one's place when it has left.
      if (leaving.signal.aborted) return;
      close();
      showState();
    },
  };
  void occupySlot(tenant, leaving.signal);
  return {
    reopen: () => {
      if (client !== undefined) open();
    },
    close: () => {
      leaving.abort();
      close();
      showState({ state: 'closed', reconnects: 0 });
    },
  };
}

/** Shows what a client does; without one, that the stream waits for a connection. */
function stateView(name: string): (client?: Pick<SseClient, 'state' | 'reconnects'>) => void {
  const element = byTestId(`state-${name}`);
  const label = make('span', 'state-label');
  const detail = make('span', 'state-detail');
  element.replaceChildren(label, ' ', detail);
  let wasOpen = false;

  return (client) => {
    const state = client?.state ?? 'waiting';
    const reconnects = client?.reconnects ?? 0;
    wasOpen = client !== undefined && (wasOpen || state === 'open');
    element.dataset.state = state;
    element.dataset.reconnects = `${reconnects}`;
    if (client === undefined) {
      label.textContent = 'waiting';
      detail.textContent = 'for a free connection: this browser allows six per host';
    } else {
      label.textContent = state === 'connecting' && wasOpen ? 'reconnecting' : labels[state];
      detail.textContent = reconnects === 0 ? '' : countOf(reconnects);
    }
  };
}

const labels: Record<SseState, string> = {
  connecting: 'connecting',
  open: 'open',
  // The client waits between two attempts.
  waiting: 'reconnecting',
  closed: 'closed',
};

function countOf(reconnects: number): string {
  return reconnects === 1 ? '1 reconnect' : `${reconnects} reconnects`;
}
