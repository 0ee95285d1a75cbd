/**
 * Connections shared fairly by all windows of this origin.
 *
 * Over HTTP/1.1 a browser opens at most six connections to one host, for all of its tabs together.
 * An event stream keeps its connection, so six streams leave none: the next stream and every
 * `fetch` would hang without a word. Five slots for streams keep the sixth connection free. A slot
 * is a Web Lock, which the browser releases by itself when a window goes away.
 *
 * The order in which a window asks for slots is its priority. A tenant that `givesWay` lives on
 * what is left over: as soon as one that does not is waiting, in any window, it lets go and queues
 * again behind it. So two windows have everything but one such stream, and a third one is given
 * the slot of the other.
 */
export interface Tenant {
  /** Lets go of its slot, or of its place in the queue, for a tenant that does not give way. */
  givesWay: boolean;
  /** A slot is held: open the stream. */
  onEnter(): void;
  /** No slot is held, or no longer: close the stream. May be called several times in a row. */
  onWait(): void;
}

const slotNames = ['slot-1', 'slot-2', 'slot-3', 'slot-4', 'slot-5'];

/** Takes a slot or waits for one, and keeps it for as long as the window lives. */
export async function occupySlot(tenant: Tenant): Promise<void> {
  if (!(await connectionsAreScarce())) {
    tenant.onEnter();
    return;
  }
  // Each tenant has a channel of its own, because a channel does not hear what it sent itself.
  const channel = new BroadcastChannel('connection-slots');
  do {
    const turn = new AbortController();
    if (tenant.givesWay) channel.onmessage = () => turn.abort();
    if (await stayInFreeSlot(tenant, turn.signal)) continue;

    tenant.onWait();
    const stay = stayInNextSlot(tenant, turn.signal);
    if (!tenant.givesWay) {
      // Answered only when the requests above are in their queues: whoever gives way on the
      // message below asks again behind them.
      await navigator.locks.query();
      channel.postMessage('waiting');
    }
    await stay;
  } while (tenant.givesWay);
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

async function stayInFreeSlot(tenant: Tenant, turn: AbortSignal): Promise<boolean> {
  for (const name of slotNames) {
    const wasFree = await navigator.locks.request(name, { ifAvailable: true }, async (lock) => {
      if (lock !== null) await stay(tenant, turn);
      return lock !== null;
    });
    if (wasFree) return true;
  }
  return false;
}

/** Stands in the queue of every slot at once; the first one to be free ends the others. */
async function stayInNextSlot(tenant: Tenant, turn: AbortSignal): Promise<void> {
  const queues = new AbortController();
  turn.addEventListener('abort', () => queues.abort());
  let entered = false;
  const requests = slotNames.map((name) =>
    navigator.locks.request(name, { signal: queues.signal }, async () => {
      // Two slots may come free at the same moment, before the abort is seen.
      if (entered) return;
      entered = true;
      queues.abort();
      await stay(tenant, turn);
    }),
  );
  await Promise.allSettled(requests);
}

/** The lock is held until the promise is settled: until the turn is over, or for good. */
async function stay(tenant: Tenant, turn: AbortSignal): Promise<void> {
  if (turn.aborted) return;
  tenant.onEnter();
  await new Promise((resolve) => turn.addEventListener('abort', resolve, { once: true }));
  tenant.onWait();
}
