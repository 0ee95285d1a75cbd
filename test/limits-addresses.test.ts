import { describe, expect, test } from '@jest/globals';
import { canonicalAddress, limitKey, Networks } from '../src/limits/addresses.js';
import {
  ClientAddresses,
  MAX_PROXIES,
  parseTrustProxy,
  socketAddress,
} from '../src/limits/client-address.js';

const PROXY = '10.0.0.1';

/** Who asks, if the connection comes from the proxy. */
function clientOf(
  trust: string,
  headers: { 'x-forwarded-for'?: string; forwarded?: string },
  socketAddress = PROXY,
) {
  return new ClientAddresses(parseTrustProxy(trust)).of(socketAddress, headers);
}

describe('X-Forwarded-For', () => {
  test.each([
    ['nobody is trusted by default', 'false', '203.0.113.7', PROXY],
    ['0 proxies are nobody', '0', '203.0.113.7', PROXY],
    ['one proxy names its client', '1', '203.0.113.7', '203.0.113.7'],
    ['what stands before that is not looked at', '1', '6.6.6.6, 203.0.113.7', '203.0.113.7'],
    ['two proxies name the client of the second', '2', '203.0.113.7, 10.0.0.2', '203.0.113.7'],
    ['more entries than proxies are cut', '2', '6.6.6.6, 203.0.113.7, 10.0.0.2', '203.0.113.7'],
    ['fewer entries than proxies end at the last', '3', '203.0.113.7', '203.0.113.7'],
    ['a trusted network is walked through', '10.0.0.0/8', '203.0.113.7,10.9.9.9', '203.0.113.7'],
    ['the first beyond it is the client', '10.0.0.0/8', '10.6.6.6, 203.0.113.7', '203.0.113.7'],
    ['garbage before the client is ignored', '10.0.0.0/8', '<x>,,"\\, 203.0.113.7', '203.0.113.7'],
    ['garbage behind a trusted proxy ends at it', 'private', 'x, 192.168.7.7', '192.168.7.7'],
    ['all are trusted: the farthest', 'private', '192.168.1.1, 10.0.0.2', '192.168.1.1'],
    ['a port is left away', '1', '203.0.113.7:4711', '203.0.113.7'],
    ['IPv6 is written in one way', '1', '2001:DB8:0:0::7', '2001:db8::7'],
    ['IPv6 in brackets, with a port', '1', '[2001:db8::7]:4711', '2001:db8::7'],
    ['IPv4 in the form of IPv6 is IPv4', '1', '::ffff:203.0.113.7', '203.0.113.7'],
    ['… also in hexadecimal', '1', '::FFFF:CB00:7107', '203.0.113.7'],
    ['no address is not believed', '1', '203.0.113.256', PROXY],
    ['nor are names', '1', 'localhost', PROXY],
    ['nor is nothing', '1', ', ,', PROXY],
  ])('%s', (_, trust, header, address) => {
    expect(clientOf(trust, { 'x-forwarded-for': header }).address).toBe(address);
  });

  test('of a connection that is not trusted is not looked at', () => {
    const headers = { 'x-forwarded-for': '203.0.113.7', forwarded: 'for=203.0.113.7' };
    expect(clientOf('10.0.0.0/8', headers, '198.51.100.1')).toEqual({ address: '198.51.100.1' });
  });

  test('of 100 KB costs no more than the entries that count', () => {
    const entries = Array(10_000).fill('10.1.1.1');
    const started = performance.now();
    for (let i = 0; i < 100; i++) {
      const header = `${'6.6.6.6'.padEnd(50_000)}, ${entries.join(', ')}`;
      expect(clientOf('10.0.0.0/8', { 'x-forwarded-for': header }).address).toBe('10.1.1.1');
    }
    // 10,000 of them each time would take 2 s.
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(MAX_PROXIES).toBe(30);
  });
});

describe('Forwarded', () => {
  test.each([
    ['names the client', '1', 'for=203.0.113.7', '203.0.113.7'],
    ['with other parameters', '1', 'By=10.0.0.1;FOR=203.0.113.7 ; proto=https', '203.0.113.7'],
    ['in quotes, with a port', '1', 'for="203.0.113.7:4711"', '203.0.113.7'],
    ['IPv6', '1', 'for="[2001:db8::7]:4711"', '2001:db8::7'],
    ['with an escape', '1', 'for="203.0.113\\.7"', '203.0.113.7'],
    ['of many elements', '10.0.0.0/8', 'for=6.6.6.6,for=203.0.113.7, for=10.0.0.2', '203.0.113.7'],
    [
      'a comma in quotes parts nothing',
      '1',
      'for=6.6.6.6, for=203.0.113.7;a="x, y"',
      '203.0.113.7',
    ],
    ['unknown is nobody', '1', 'for=6.6.6.6, for=unknown', PROXY],
    ['an obfuscated one is nobody', '1', 'for=6.6.6.6, for="_gazonk"', PROXY],
    ['without for is nobody', '1', 'for=6.6.6.6, proto=https', PROXY],
    ['two of them are nobody', '1', 'for=6.6.6.6;for=203.0.113.7', PROXY],
    ['a quote that the client opened', '1', 'for="6.6.6.6, for=203.0.113.7', '203.0.113.7'],
    ['… before quotes', '1', 'for="6.6.6.6, for="[2001:db8::7]"', '2001:db8::7'],
    ['… with a backslash', '1', 'for="6.6.6.6\\, for="[2001:db8::7]"', '2001:db8::7'],
  ])('%s', (_, trust, header, address) => {
    expect(clientOf(trust, { forwarded: header }).address).toBe(address);
  });

  test.each(['"', '\\', ' ', '\\"', 'for=', ';', '",', 'for=1.1.1.1;'])(
    'of 100 KB of %j is read in a moment',
    (text) => {
      const header = `${text.repeat(100_000 / text.length)}, for=203.0.113.7`;
      const started = performance.now();
      expect(clientOf('2', { forwarded: header }).address).toBe('203.0.113.7');
      expect(performance.now() - started).toBeLessThan(500);
    },
  );
});

describe('both headers', () => {
  test('that agree name the client', () => {
    expect(
      clientOf('1', { 'x-forwarded-for': '6.6.6.6, 203.0.113.7', forwarded: 'for=203.0.113.7' }),
    ).toEqual({ address: '203.0.113.7' });
  });

  test('that disagree name nobody: one is the invention of the client', () => {
    expect(clientOf('1', { 'x-forwarded-for': '203.0.113.7', forwarded: 'for=6.6.6.6' })).toEqual({
      address: PROXY,
      unnamed: 'disputed',
    });
  });
});

describe('networks', () => {
  test.each([
    ['loopback', ['127.0.0.1', '127.9.9.9', '::1'], ['128.0.0.1', '::2', '10.0.0.1']],
    [
      'private',
      ['10.0.0.1', '172.31.0.1', '192.168.9.9', '169.254.1.1', '100.64.0.1', 'fd00::1', 'fe80::1'],
      ['11.0.0.1', '172.32.0.1', '100.128.0.1', '127.0.0.1', '2001:db8::1'],
    ],
    ['203.0.113.0/24', ['203.0.113.255'], ['203.0.114.0', '2001:db8::1']],
    ['203.0.113.7', ['203.0.113.7'], ['203.0.113.8']],
    ['2001:db8::/32', ['2001:db8:ffff::1'], ['2001:db9::1']],
    ['::ffff:10.0.0.0/104', ['10.1.1.1'], ['11.0.0.1']],
  ])('%s', (network, inside, outside) => {
    const networks = new Networks([network]);
    expect(inside.filter((address) => !networks.has(address))).toEqual([]);
    expect(outside.filter((address) => networks.has(address))).toEqual([]);
  });

  test.each([
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['fe80::1%eth0', 'fe80::1'],
    [undefined, ''],
  ])('a socket from %s is one from %j', (remoteAddress, address) => {
    expect(socketAddress({ remoteAddress })).toBe(address);
  });

  test.each([
    ['203.0.113.7', '203.0.113.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['1::', '1:0:0:0::/64'],
    ['1::4:5:6:7:8', '1:0:0:4::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
  ])('limits count %s as %s', (address, key) => {
    expect(limitKey(canonicalAddress(address) as string)).toBe(key);
  });
});
