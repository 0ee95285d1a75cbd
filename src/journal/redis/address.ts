/** What a `redis:` setting names, and where that is now. */

import { type ClientOptions, openClient } from './line.js';
import { redact } from './url.js';

/** Where a Redis is, or several that know which of them it is. */
export interface Address {
  /** For the log: without passwords. */
  readonly name: string;
  readonly isCluster: boolean;
  /** Asks where to connect to now. */
  resolve(): Promise<ClientOptions>;
  /** The server that was found says that the keys are at another one. */
  moved(to: string): void;
}

const FORM =
  /^(?<scheme>rediss?)(?:\+(?<kind>unix|sentinel|cluster))?:\/\/(?:(?<login>[^/?#]*)@)?(?<hosts>[^/?#@]*)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/;

export const ALLOWED =
  'redis://[user:password@]host[:port][/db], rediss://…, redis+unix:///path/of/socket[?db=n], redis+sentinel://host:port,host:port/NAME[/db] or redis+cluster://host:port,host:port';

/**
 * @returns undefined if a text is not of one of these forms:
 *
 * - `redis://[user:password@]host[:port][/db]`, and `rediss://` for TLS;
 * - `redis+unix://[user:password@]/path/of/socket[?db=n]`;
 * - `redis+sentinel://[user:password@]host[:port],…/NAME[/db]`: sentinels, and which of their primaries. Sentinels that want
 *   a password have it behind the rest: `?sentinelPassword=…`. With TLS: `rediss+sentinel://`;
 * - `redis+cluster://[user:password@]host[:port],…`: some of a cluster's nodes. With TLS: `rediss+cluster://`.
 *
 * In names, passwords and paths, other characters than letters and digits are written as `%40`.
 */
export function parseAddress(url: string): Address | undefined {
  const parts = FORM.exec(url)?.groups as Parts | undefined;
  if (parts === undefined) return undefined;
  try {
    return addressOf(parts, redact(url));
  } catch (error) {
    // A part that is not percent-encoded as it should be, or that is no number.
    if (error instanceof URIError || error instanceof RangeError) return undefined;
    throw error;
  }
}

interface Parts {
  readonly scheme: string;
  readonly kind?: string;
  readonly login?: string;
  readonly hosts: string;
  readonly path?: string;
  readonly query?: string;
}

function addressOf(parts: Parts, name: string): Address | undefined {
  const { kind, hosts, path = '', query = '' } = parts;
  const common = { ...loginOf(parts.login), isTls: parts.scheme === 'rediss' };
  const options = new URLSearchParams(query);
  if (kind === 'unix') {
    const socketPath = decodeURIComponent(path);
    if (hosts !== '' || socketPath.length < 2 || common.isTls) return undefined;
    return fixed(name, { ...common, socketPath, database: databaseOf(options.get('db')) });
  }
  const places = hosts.split(',').map((host) => placeOf(host, kind === 'sentinel' ? 26_379 : 6379));
  const [first] = places;
  if (first === undefined) return undefined;
  if (kind === 'cluster') {
    return path.length > 1 || query !== '' ? undefined : cluster(name, places, common);
  }
  if (kind === 'sentinel') {
    const [, primary = '', database, ...rest] = path.split('/');
    if (primary === '' || rest.length > 0) return undefined;
    const password = options.get('sentinelPassword') ?? undefined;
    const found = { ...common, database: databaseOf(database) };
    return sentinels(name, places, { primary: decodeURIComponent(primary), password }, found);
  }
  if (places.length > 1 || query !== '') return undefined;
  return fixed(name, { ...common, ...first, database: databaseOf(path.slice(1)) });
}

function loginOf(login: string | undefined): Pick<ClientOptions, 'username' | 'password'> {
  if (login === undefined) return {};
  const colon = login.indexOf(':');
  const username = decodeURIComponent(colon < 0 ? login : login.slice(0, colon));
  const password = colon < 0 ? '' : decodeURIComponent(login.slice(colon + 1));
  return { username: username || undefined, password: password || undefined };
}

interface Place {
  readonly host: string;
  readonly port: number;
}

function placeOf(text: string, defaultPort: number): Place {
  const { host, port } = /^(?<host>\[[\da-f:.]+\]|[^:[\]]+)(?::(?<port>\d{1,5}))?$/i.exec(text)
    ?.groups ?? { host: '' };
  if (!host) throw new RangeError('no host');
  const number = port === undefined ? defaultPort : Number(port);
  if (number < 1 || number > 65_535) throw new RangeError('no port');
  return { host: decodeURIComponent(host.replace(/^\[(.*)\]$/, '$1')), port: number };
}

function databaseOf(text: string | null | undefined): number {
  if (!text) return 0;
  if (!/^\d{1,4}$/.test(text)) throw new RangeError('no database');
  return Number(text);
}

function fixed(name: string, options: ClientOptions): Address {
  return { name, isCluster: false, resolve: async () => options, moved: () => {} };
}

/** All keys of a journal are in one slot: so the cluster is one server, and any of its nodes says which. */
function cluster(name: string, seeds: readonly Place[], common: ClientOptions): Address {
  let turn = 0;
  let next: Place | undefined;
  let last = seeds[0] as Place;
  return {
    name,
    isCluster: true,
    resolve: async () => {
      last = next ?? (seeds[turn++ % seeds.length] as Place);
      next = undefined;
      return { ...common, ...last };
    },
    moved(to) {
      const colon = to.lastIndexOf(':');
      // Without a host it is the one that was asked.
      const host = to.slice(0, colon).replace(/^\[(.*)\]$/, '$1') || last.host;
      next = { host, port: Number(to.slice(colon + 1)) };
    },
  };
}

function sentinels(
  name: string,
  places: readonly Place[],
  { primary, password }: { primary: string; password: string | undefined },
  found: ClientOptions,
): Address {
  let turn = 0;
  return {
    name,
    isCluster: false,
    moved: () => {},
    async resolve() {
      const place = places[turn++ % places.length] as Place;
      const sentinel = await openClient({ ...place, isTls: found.isTls, password });
      try {
        const answer = await sentinel.sendCommand(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', primary]);
        if (!Array.isArray(answer)) {
          throw new Error(`The sentinel at ${place.host}:${place.port} knows no ${primary}`);
        }
        return { ...found, host: String(answer[0]), port: Number(answer[1]) };
      } finally {
        sentinel.destroy();
      }
    },
  };
}
