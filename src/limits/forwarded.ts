/**
 * The addresses that proxies have written down, nearest first. Each proxy appends the address that it was asked
 * from, so that the last one is that of the nearest proxy, and what stands left of it came with the request: it
 * may be anything. So both headers are read from their end, and what stands there means the same whatever
 * precedes it.
 */
import { ownCopy } from '../topics/own-copy.js';
import { canonicalAddress } from './addresses.js';

/** An entry that names no address (`unknown`, an obfuscated identifier, garbage) is undefined. */
export type ForwardedEntries = Iterable<string | undefined>;

/** The entries of `X-Forwarded-For`: addresses, with or without a port. */
export function* readXForwardedFor(header: string): ForwardedEntries {
  for (let end = header.length; end >= 0; ) {
    const comma = end === 0 ? -1 : header.lastIndexOf(',', end - 1);
    yield readNode(header.slice(comma + 1, end).trim());
    end = comma;
  }
}

/** The `for` of each element of `Forwarded` (RFC 7239). */
export function* readForwarded(header: string): ForwardedEntries {
  let end = header.length;
  let isQuoted = false;
  for (let at = header.length - 1; at >= -1; at--) {
    if (header[at] === '"' && !isEscaped(header, at)) isQuoted = !isQuoted;
    if (at === -1 || (header[at] === ',' && !isQuoted)) {
      yield readElement(header.slice(at + 1, end));
      end = at;
    }
  }
}

function isEscaped(text: string, at: number): boolean {
  let first = at;
  while (text[first - 1] === '\\') first -= 1;
  return (at - first) % 2 === 1;
}

// RFC 7239, section 4: forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] ).
const PAIR = /[ \t]*(?:([!#$%&'*+.^_`|~\w-]+)=(?:([^\s";,]+)|"((?:[^"\\]|\\.)*)")[ \t]*)?(?:;|$)/y;

function readElement(element: string): string | undefined {
  let node: string | undefined;
  PAIR.lastIndex = 0;
  while (PAIR.lastIndex < element.length) {
    const pair = PAIR.exec(element);
    if (pair === null) return undefined;
    const [, name, token, quoted] = pair;
    if (name?.toLowerCase() !== 'for') continue;
    // "Each parameter MUST NOT occur more than once per field-value element": which one is meant?
    if (node !== undefined) return undefined;
    node = token ?? quoted?.replace(/\\(.)/g, '$1') ?? '';
  }
  return node === undefined ? undefined : readNode(node);
}

/** An address, also in brackets, and without its port. */
function readNode(node: string): string | undefined {
  // The longest: brackets, an IPv6 address that ends in an IPv4 one, and a port.
  if (node.length > 64) return undefined;
  const [, bracketed, dotted] = /^(?:\[([^\]]+)\]|([\d.]+))(?::[\w.-]+)?$/.exec(node) ?? [];
  // Limits remember it, which must not be at the cost of all that the header has.
  return canonicalAddress(ownCopy(bracketed ?? dotted ?? node));
}
