import type { IncomingMessage } from 'node:http';
import { canonicalAddress, NetworkError, Networks } from './addresses.js';
import { type ForwardedEntries, readForwarded, readXForwardedFor } from './forwarded.js';

/** Whose `X-Forwarded-For` or `Forwarded` counts: nobody's, that of the nearest so many, or of these networks. */
export type TrustProxy = false | number | readonly string[];

/** More are not looked at: whoever is trusted may be made to pass on a header of any length. */
export const MAX_PROXIES = 30;

/**
 * Reads the setting: `false`, a number of proxies, or a list of networks.
 *
 * @throws {NetworkError} for an entry that is no network.
 */
export function parseTrustProxy(text: string): TrustProxy {
  if (text === 'false') return false;
  if (/^\d{1,3}$/.test(text)) {
    if (Number(text) > MAX_PROXIES) throw new NetworkError(`${text} is too many`);
    return Number(text) || false;
  }
  const networks = text.split(/[\s,]+/).filter((network) => network !== '');
  if (networks.length === 0) throw new NetworkError('no network is named');
  new Networks(networks);
  return networks;
}

export interface ClientAddress {
  /** Canonical; empty for a socket that has none, as a Unix socket. */
  readonly address: string;
  /**
   * Why a proxy's address stands for a client that it did not name: it named none that can be read (`unknown`),
   * or two different ones (`disputed`).
   */
  readonly unnamed?: 'unknown' | 'disputed';
}

/** Finds out who asks, from the address of the connection and what trusted proxies have written down. */
export class ClientAddresses {
  readonly #trusts: (address: string, distance: number) => boolean;

  constructor(trust: TrustProxy) {
    if (trust === false) {
      this.#trusts = () => false;
    } else if (typeof trust === 'number') {
      this.#trusts = (_, distance) => distance < trust;
    } else {
      const networks = new Networks(trust);
      // A Unix socket has no address: who can reach it is on this machine.
      const trustsLocal = networks.has('127.0.0.1');
      this.#trusts = (address) => (address === '' ? trustsLocal : networks.has(address));
    }
  }

  /** Whether the other end of a connection is a proxy that is trusted to say who asks. */
  isProxy(socketAddress: string): boolean {
    return this.#trusts(socketAddress, 0);
  }

  /**
   * The client of a request: from the connection's own address on, the first that is not trusted.
   *
   * Proxies that write one of the headers pass on the other as it came. So if both are there and disagree, one
   * of them is the client's invention: neither is believed, and the client is known by its proxy's address.
   */
  of(socketAddress: string, headers: IncomingMessage['headers']): ClientAddress {
    const { 'x-forwarded-for': list, forwarded } = headers;
    if (list === undefined && forwarded === undefined) return { address: socketAddress };
    if (!this.isProxy(socketAddress)) return { address: socketAddress };
    const named = new Set<string>();
    if (list !== undefined) {
      named.add(this.#walk(socketAddress, readXForwardedFor([list].flat().join(','))));
    }
    if (forwarded !== undefined) named.add(this.#walk(socketAddress, readForwarded(forwarded)));
    if (named.size > 1) return { address: socketAddress, unnamed: 'disputed' };
    const [address = socketAddress] = named;
    return address === socketAddress ? { address, unnamed: 'unknown' } : { address };
  }

  /** From the nearest proxy on to the first address that is not trusted, or behind which none is known. */
  #walk(socketAddress: string, entries: ForwardedEntries): string {
    const remaining = entries[Symbol.iterator]();
    let address = socketAddress;
    for (let distance = 0; distance < MAX_PROXIES; distance++) {
      if (!this.#trusts(address, distance)) break;
      const { value: entry } = remaining.next();
      if (entry === undefined) break;
      address = entry;
    }
    return address;
  }
}

/** The address of the other end, in the form in which all else is compared with it. */
export function socketAddress({
  remoteAddress = '',
}: {
  remoteAddress?: string | undefined;
}): string {
  return canonicalAddress(remoteAddress) ?? '';
}
