import { BlockList, isIP, SocketAddress } from 'node:net';

/** A text that names no network. Its message is written for the operator. */
export class NetworkError extends Error {
  readonly code = 'ERR_NETWORK';
}

/** Names for networks that everybody has, for settings. */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  loopback: ['127.0.0.0/8', '::1/128'],
  // RFC 1918, link-local and RFC 6598 (carriers, and the inner networks of clouds); RFC 4193 and RFC 4291.
  private: [
    '10.0.0.0/8',
    '172.16.0.0/12',
    '192.168.0.0/16',
    '169.254.0.0/16',
    '100.64.0.0/10',
    'fc00::/7',
    'fe80::/10',
  ],
};

/** A set of networks. */
export class Networks {
  readonly #list = new BlockList();

  /**
   * @param networks addresses, networks like `10.0.0.0/8` or `2001:db8::/32`, `loopback` and `private`.
   * @throws {NetworkError} for a text that is none of these, and for a network of all addresses.
   */
  constructor(networks: readonly string[]) {
    for (const text of networks.flatMap((network) => NAMED[network] ?? network)) this.#add(text);
  }

  /** @param address as {@link canonicalAddress} writes it. */
  has(address: string): boolean {
    return this.#list.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6');
  }

  #add(text: string): void {
    const [, given = '', length] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
    const address = canonicalAddress(given);
    if (address === undefined) throw new NetworkError(`${JSON.stringify(text)} is no network`);
    // An IPv4 address in the form of IPv6 (::ffff:10.0.0.0/104) has 96 bits before its own.
    const isMapped = isIP(address) !== isIP(given);
    const bits = isIP(address) === 4 ? 32 : 128;
    const prefix = length === undefined ? bits : Number(length) - (isMapped ? 96 : 0);
    if (prefix < 1 || prefix > bits) {
      throw new NetworkError(`${JSON.stringify(text)} has no length from 1 to ${bits}`);
    }
    this.#list.addSubnet(address, prefix, bits === 32 ? 'ipv4' : 'ipv6');
  }
}

/**
 * The one way to write an address that can be written in many, without a zone; undefined if it is none. An IPv4
 * address in the form of IPv6 (`::ffff:192.0.2.1`, as sockets that accept both have it) is the IPv4 address.
 */
export function canonicalAddress(text: string): string | undefined {
  const version = isIP(text);
  if (version === 0) return undefined;
  if (version === 4) return text;
  const zone = text.indexOf('%');
  const { address } = new SocketAddress({
    address: zone === -1 ? text : text.slice(0, zone),
    family: 'ipv6',
  });
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(address);
  return mapped?.[1] ?? address;
}

/**
 * What limits count under: an IPv4 address, or the /64 of an IPv6 one. A /64 is the smallest network that a
 * provider gives to one customer, who can send from any of its addresses.
 */
export function limitKey(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  // Where `::` stands among the first four groups, zeros and perhaps groups of the tail follow it.
  if (tail !== undefined && groups.length < 4) {
    const last = tail === '' ? [] : tail.split(':');
    // An IPv4 address at the end takes the place of two groups.
    const width = last.length + (tail.includes('.') ? 1 : 0);
    while (groups.length + width < 8) groups.push('0');
    groups.push(...last);
  }
  return `${groups.slice(0, 4).join(':')}::/64`;
}
