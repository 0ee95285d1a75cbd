import { describe, expect, test } from '@jest/globals';
import { ConfigError, localUrl, readConfig } from '../src/config.js';

describe('the settings', () => {
  test('have defaults that serve http://localhost:3000 to any origin', () => {
    const config = readConfig({});
    expect(config).toEqual({
      ACCESS_LOG: false,
      ANONYMOUS: true,
      FEEDS: new Set(['stream', 'events', 'counter', 'chat']),
      JWKS_MAX_AGE: 600_000,
      BODY_TIMEOUT_MS: 20_000,
      JOURNAL: 'lmdb:./data',
      JOURNAL_MAX_AGE: 0,
      JOURNAL_MAX_BYTES: 1024 ** 3,
      JOURNAL_PUBLISHER_SHARE: 0.5,
      JOURNAL_MAX_UPDATES: 1_000_000,
      JOURNAL_SYNC: 'disk',
      JOURNAL_PREFIX: 'sse-hub',
      JOURNAL_REPLICAS: 0,
      LOG_LEVEL: 'info',
      NODE_ENV: 'development',
      SLOW_CLIENTS: 'catch-up',
      SLOW_CLIENT_MAX_AGE: 600_000,
      MAX_TEMPLATE_COST: 150_000,
      MAX_QUEUED_BYTES: 256 * 1024 ** 2,
      SUBSCRIPTIONS: false,
      SUBSCRIPTIONS_TIMEOUT: 30_000,
      TRUST_PROXY: false,
      MAX_CONNECTIONS: 10_000,
      MAX_CONNECTIONS_PER_ADDRESS: 100,
      MAX_CONNECTIONS_PER_SUBJECT: 1_000,
      RATE_LIMITS: true,
      RATE_REQUESTS: { count: 6_000, periodMs: 60_000 },
      RATE_STREAMS: { count: 3_000, periodMs: 60_000 },
      RATE_CHAT: { count: 30, periodMs: 60_000 },
      RATE_PUBLISHES: undefined,
      WINDOW_MAX_BYTES: 67_108_864,
      PORT: 3000,
      DRAIN_DELAY_MS: 250,
      DRAIN_MS: 0,
      DRAIN_RETRY_MS: [1_000, 5_000],
      CORS_ORIGINS: '*',
      HEARTBEAT_MS: 15_000,
      MAX_BODIES_BYTES: 67_108_864,
      MAX_BODY_BYTES: 1_048_576,
    });
    expect(localUrl(config)).toBe('http://localhost:3000');
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('ask for replicas only of a journal that can have some', () => {
    expect(() => readConfig({ JOURNAL_REPLICAS: '1' })).toThrow(/JOURNAL_REPLICAS .* in Redis/);
    expect(readConfig({ JOURNAL: 'redis://host', JOURNAL_REPLICAS: '1' }).JOURNAL_REPLICAS).toBe(1);
  });

  test('that are empty count as not set', () => {
    expect(readConfig({ PORT: '', HOST: '', CORS_ORIGINS: '' })).toEqual(readConfig({}));
  });

  test.each([
    ['PORT', '3000x'],
    ['PORT', '65536'],
    ['PORT', '-1'],
    ['PORT', '1e3'],
    ['JOURNAL_SYNC', 'memory'],
    ['JOURNAL_PREFIX', '{hub}'],
    ['JOURNAL_PREFIX', 'x'.repeat(51)],
    ['JOURNAL_REPLICAS', '-1'],
    ['JOURNAL_MAX_AGE', '10'],
    ['JOURNAL_MAX_UPDATES', '0'],
    ['JOURNAL_MAX_BYTES', '1GiB'],
    ['JOURNAL_MAX_BYTES', '-1'],
    ['JOURNAL_PUBLISHER_SHARE', '0'],
    ['JOURNAL_PUBLISHER_SHARE', '0.001'],
    ['JOURNAL_PUBLISHER_SHARE', '1.1'],
    ['JOURNAL_PUBLISHER_SHARE', '50%'],
    ['WINDOW_MAX_BYTES', '64MB'],
    ['SLOW_CLIENTS', 'drop'],
    ['ANONYMOUS', 'yes'],
    ['ANONYMOUS', 'no-templates, no-streams'],
    ['ANONYMOUS', 'true no-latest'],
    ['ANONYMOUS', ','],
    ['LOG_LEVEL', 'trace'],
    ['LOG_FORMAT', 'pretty'],
    ['ACCESS_LOG', '1'],
    ['TRUST_PROXY', 'true'],
    ['TRUST_PROXY', '31'],
    ['TRUST_PROXY', '-1'],
    ['TRUST_PROXY', '10.0.0.0/33'],
    ['TRUST_PROXY', '10.0.0.0/8, 300.0.0.1'],
    ['TRUST_PROXY', '0.0.0.0/0'],
    ['TRUST_PROXY', '::/0'],
    ['TRUST_PROXY', '::ffff:0.0.0.0/96'],
    ['TRUST_PROXY', 'proxy.example.com'],
    ['TRUST_PROXY', ','],
    ['MAX_CONNECTIONS', '0'],
    ['MAX_CONNECTIONS_PER_ADDRESS', '-1'],
    ['MAX_CONNECTIONS_PER_SUBJECT', 'many'],
    ['RATE_LIMITS', 'false'],
    ['RATE_REQUESTS', '100'],
    ['RATE_STREAMS', '0/m'],
    ['RATE_CHAT', '10/d'],
    ['RATE_PUBLISHES', '1000001/s'],
    ['HEARTBEAT_MS', '1.5'],
    ['HEARTBEAT_MS', '2147483648'],
    ['MAX_BODY_BYTES', '0'],
    ['JWKS_MAX_AGE', '0'],
    ['JWKS_MAX_AGE', '999ms'],
    ['JWKS_MAX_AGE', '8d'],
    ['MAX_BODY_BYTES', '16777217'],
    ['MAX_BODIES_BYTES', '2097151'],
    ['BODY_TIMEOUT_MS', '0'],
    ['CORS_ORIGINS', 'example.com'],
    ['CORS_ORIGINS', 'https://example.com/'],
    ['CORS_ORIGINS', 'https://example.com, *'],
    ['CORS_ORIGINS', 'null'],
    ['CORS_ORIGINS', ','],
    ['FEEDS', 'clock'],
    ['FEEDS', 'stream,none'],
    ['FEEDS', 'Chat'],
    ['FEEDS', ' , '],
    ['CORS_ORIGINS', 'https://*.example.com'],
    ['CORS_ORIGINS', '*.example.com'],
    ['CORS_ORIGINS', 'https://example.com:*'],
    ['CORS_ORIGINS', '* https://a.example'],
    ['CORS_ORIGINS', 'https://a.example,*'],
    ['CORS_ORIGINS', '*,*'],
    ['CORS_ORIGINS', 'https://*'],
    ['CORS_ORIGINS', '*://example.com'],
    ['CORS_ORIGINS', 'http*://example.com'],
    ['CORS_ORIGINS', 'https://a*.example'],
    ['CORS_ORIGINS', 'chrome-extension://*'],
    ['CORS_ORIGINS', 'https://a.example null'],
    ['CORS_ORIGINS', 'Null'],
    ['CORS_ORIGINS', 'https://user@example.com'],
    ['CORS_ORIGINS', 'app://user@example'],
    ['CORS_ORIGINS', 'https://example.com:443'],
    ['CORS_ORIGINS', 'https://Example.com'],
  ])('that are not valid are named, with what is allowed: %s=%s', (name, value) => {
    expect(() => readConfig({ [name]: value })).toThrow(ConfigError);
    expect(() => readConfig({ [name]: value })).toThrow(
      new RegExp(`^${name} must be .*, not "${value.replace(/[.*|?+]/g, '\\$&')}"$`),
    );
  });

  test('refuse a wildcard within origins with a line that says what is allowed', () => {
    expect(() => readConfig({ CORS_ORIGINS: 'https://*.example.com' })).toThrow(
      /^CORS_ORIGINS must be \* alone or a list of origins like https:\/\/example\.com \(no \* in it, no null,/,
    );
  });

  test('that are not valid are all named at once', () => {
    expect(() => readConfig({ PORT: 'x', HEARTBEAT_MS: 'y' })).toThrow(/PORT.*HEARTBEAT_MS/);
  });

  test('give durations a unit', () => {
    const age = (text: string) => readConfig({ JOURNAL_MAX_AGE: text }).JOURNAL_MAX_AGE;
    expect(['0', '250ms', '90s', '15m', '24h', '7d'].map(age)).toEqual([
      0, 250, 90_000, 900_000, 86_400_000, 604_800_000,
    ]);
  });

  test('list origins separated by commas or spaces', () => {
    expect(
      readConfig({ CORS_ORIGINS: 'https://a.example,http://b.example:81 chrome-extension://c' }),
    ).toEqual(
      expect.objectContaining({
        CORS_ORIGINS: new Set(['https://a.example', 'http://b.example:81', 'chrome-extension://c']),
      }),
    );
  });

  test.each([
    ['none', []],
    ['chat', ['chat']],
    [' stream, counter  chat', ['stream', 'counter', 'chat']],
    ['chat,chat stream,chat', ['chat', 'stream']],
  ])('choose the feeds, separated by commas or spaces, also twice: FEEDS=%s', (FEEDS, names) => {
    expect(readConfig({ FEEDS }).FEEDS).toEqual(new Set(names));
  });

  test('that name an unknown feed are refused with the names that there are', () => {
    expect(() => readConfig({ FEEDS: 'stream,chess' })).toThrow(
      'FEEDS must be none or a list of stream, events, counter, chat, not "stream,chess"',
    );
  });

  test.each([
    [undefined, 'http://localhost:81'],
    ['0.0.0.0', 'http://localhost:81'],
    ['::', 'http://localhost:81'],
    ['::1', 'http://[::1]:81'],
    ['10.0.0.7', 'http://10.0.0.7:81'],
  ])('make a URL for this machine: HOST=%s', (HOST, url) => {
    expect(localUrl({ HOST, PORT: 81 })).toBe(url);
  });
});
