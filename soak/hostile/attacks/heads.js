/** Heads of requests: slow ones, large ones. */

/** Never finished, a byte now and then. */
export async function slowHeads(kit) {
  const sockets = [];
  await kit.times(400, async () => {
    sockets.push(await kit.open('GET /hub?topic=a HTTP/1.1\r\nHost: x\r\nX-Slow: '));
  });
  await kit.often(4, () => {
    for (const socket of sockets) if (socket?.writable) socket.write('x');
  });
}

/** More than Node reads, and as much as it does. */
export async function largeHeads(kit) {
  await kit.often(30, () => {
    const size = kit.random.pick([15_000, 16_384, 20_000, 200_000]);
    const headers = kit.random.pick([
      () => ({ 'X-Large': 'x'.repeat(size) }),
      () =>
        Object.fromEntries(Array.from({ length: size / 12 }, (_, index) => [`X-${index}`, '1'])),
      () => ({ Cookie: 'a=b; '.repeat(size / 6) }),
      () => ({ Accept: 'text/html;q=0.1, '.repeat(size / 20) }),
      () => ({ 'X-Forwarded-For': '203.0.113.1, '.repeat(size / 13) }),
      () => ({ Forwarded: 'for="[2001:db8::1]";proto=http, '.repeat(size / 32) }),
      () => ({ Origin: `https://${'a.'.repeat(size / 2)}example` }),
    ])();
    return kit.ask(kit.request('GET', '/hub?topic=a', { headers }));
  });
}

/** Query strings of many parameters. */
export async function largeQueries(kit) {
  await kit.often(30, () => {
    const query = kit.random.pick([
      () => 'topic=a&'.repeat(1_500),
      () => '%61%62&'.repeat(1_500),
      () => '&'.repeat(12_000),
      () => `topic=${'%f0%9f%98%80'.repeat(1_000)}`,
      () => `topic=a&lastEventID=${'x'.repeat(12_000)}`,
      () => 'topic[]=a&topic[a][b]=c&__proto__=x&',
    ])();
    return kit.ask(kit.request('GET', `${kit.random.pick(['/hub', '/messages', '/'])}?${query}`));
  });
}
