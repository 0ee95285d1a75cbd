/**
 * Connections shared fairly by all windows of this origin.
 *
 * Over HTTP/1.1 a browser opens at most six connections to one host, for all of its tabs together.
 * An event stream keeps its connection, so six streams leave none: the next stream and every
 * `fetch` would hang without a word. Five slots for streams keep the sixth connection free. A slot
 * is a Web Lock, which the browser releases by itself when a window goes away.
 *
 * A stream that finds no slot asks those that matter less to give way, in any window, the least
 * important first. Whoever is asked lets go and queues again behind it. So two windows have
 * everything but one counter; if both subscribe to the hub as well, one clock waits.
 */
export interface Tenant {
  name: TenantName;
  /** A slot is held: open the stream. */
  onEnter(): void;
  /** No slot is held, or no longer: close the stream. May be called several times in a row. */
  onWait(): void;
}

export type TenantName = (typeof names)[number];

/** The most important first: people who talk, then what the user has asked for. */
const names = ['chat', 'hub', 'clock', 'counter'] as const;

const slotNames = ['slot-1', 'slot-2', 'slot-3', 'slot-4', 'slot-5'];

/** A window that the browser has put to sleep lets go of nothing; others are not to wait for it. */
const giveWayMs = 1_000;

/** Takes a slot or waits for one, and keeps it until it has `left`, or the window closes. */
export async function occupySlot(tenant: Tenant, left: AbortSignal): Promise<void> {
  if (!(await connectionsAreScarce())) {
    if (!left.aborted) tenant.onEnter();
    return;
  }
  // Each tenant has a channel of its own, because a channel does not hear what it sent itself.
  const channel = new BroadcastChannel('connection-slots');
  while (!left.aborted) {
    const turn = new AbortController();
    const over = AbortSignal.any([turn.signal, left]);
    channel.onmessage = ({ data }) => {
      if (data === tenant.name) turn.abort();
    };
    // Held as long as the turn lasts, so that whoever asks can tell when all have let go.
    await navigator.locks.request(turnsOf(tenant.name), { mode: 'shared' }, async () => {
      if (await stayInFreeSlot(tenant, over)) return;
      tenant.onWait();
      await stayInNextSlot(tenant, over, channel);
    });
  }
  channel.close();
}

/** HTTP/2 and later carry many streams over one connection. */
async function connectionsAreScarce(): Promise<boolean> {
  const [page] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  if (page?.nextHopProtocol === 'h2' || page?.nextHopProtocol === 'h3') return false;
  try {
    await navigator.locks.query();
    return true;
  } catch {
    // An insecure origin has no Web Locks, and one without storage may not use them. Then nothing
    // can be counted over windows, and a single window needs fewer than six.
    return false;
  }
}

async function stayInFreeSlot(tenant: Tenant, over: AbortSignal): Promise<boolean> {
  for (const name of slotNames) {
    const wasFree = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
      if (lock !== null) await stay(tenant, over);
      return lock !== null;
    });
    if (wasFree) return true;
  }
  return false;
}

/** Stands in the queue of every slot at once; the first one to be free ends the others. */
async function stayInNextSlot(
  tenant: Tenant,
  over: AbortSignal,
  channel: BroadcastChannel,
): Promise<void> {
  const found = new AbortController();
  const signal = AbortSignal.any([found.signal, over]);
  const requests = slotNames.map((name) =>
    navigator.locks.request(name, { signal }, async () => {
      // Two slots may come free at the same moment, before the abort is seen.
      if (found.signal.aborted) return;
      found.abort();
      await stay(tenant, over);
    }),
  );
  await Promise.allSettled([...requests, askForSlot(tenant, signal, channel)]);
}

/** Asks those that matter less to give way, until there is a slot or nobody is left to be asked. */
async function askForSlot(
  tenant: Tenant,
  settled: AbortSignal,
  channel: BroadcastChannel,
): Promise<void> {
  // Answered only when the requests for slots are in their queues: whoever gives way queues again
  // behind them.
  await navigator.locks.query();
  for (const name of names.slice(names.indexOf(tenant.name) + 1).reverse()) {
    if (settled.aborted) return;
    channel.postMessage(name);
    const signal = AbortSignal.any([settled, AbortSignal.timeout(giveWayMs)]);
    await navigator.locks
      .request(turnsOf(name), { signal }, () => undefined)
      .catch(() => undefined);
  }
}

/** The lock that is shared by all turns of one kind of stream. */
function turnsOf(name: TenantName): string {
  return `turns-${name}`;
}

/** The lock is held until the promise is settled, which is when the turn is over. */
async function stay(tenant: Tenant, over: AbortSignal): Promise<void> {
  if (over.aborted) return;
  tenant.onEnter();
  await new Promise((resolve) => over.addEventListener('abort', resolve, { once: true }));
  tenant.onWait();
}
