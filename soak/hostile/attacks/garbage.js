/** What is not HTTP. */

export async function randomBytes(kit) {
  await kit.often(60, () =>
    kit.open(kit.random.bytes(kit.random.int(1, 2_000)), { leavesAfterMs: 500 }),
  );
}

export async function malformedHttp(kit) {
  const { random } = kit;
  const made = [
    'GET / HTTP/9.9\r\n\r\n',
    'GET /\r\n\r\n',
    'GET  HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET / HTTP/1.1\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n',
    'GET http:// HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET //[ HTTP/1.1\r\nHost: [\r\n\r\n',
    'GET /%zz%00?%zz HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET * HTTP/1.1\r\nHost: x\r\n\r\n',
    'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
    'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nA B: x\r\n\r\n',
    'GET / HTTP/1.1\r\nHost: x\r\nX: \u0000\r\n\r\n',
    'POST /hub HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'POST /hub HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n',
    'POST /hub HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
    `${'A'.repeat(30_000)} / HTTP/1.1\r\n\r\n`,
    `GET /${'a/'.repeat(10_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
    '\r\n'.repeat(1_000),
    '\n',
    '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc\u0003\u0003', // the hello of TLS
    'PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n',
  ];
  await kit.often(100, () =>
    kit.open(Buffer.from(random.pick(made), 'latin1'), { leavesAfterMs: random.int(50, 1_000) }),
  );
}

/** Requests that were right, with some of their bytes changed. */
export async function mutatedRequests(kit) {
  const { random } = kit;
  await kit.often(100, () => {
    const bytes = random.pick([
      () => kit.subscribeRequest(['*']),
      () => kit.publishRequest('topic=https://wild.example/m&data=x'),
      () => kit.request('GET', '/'),
    ])();
    for (let count = random.int(1, 8); count > 0; count--) {
      bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    }
    return kit.open(bytes, { leavesAfterMs: random.int(50, 1_000) });
  });
}

/** Methods and paths that are not there. */
export async function otherMethods(kit) {
  const methods = [
    'PUT',
    'DELETE',
    'PATCH',
    'TRACE',
    'PROPFIND',
    'LINK',
    'SEARCH',
    'OPTIONS',
    'QUERY',
  ];
  const paths = [
    '/',
    '/hub',
    '/stream',
    '/message',
    '/assets/..%2f..%2fpackage.json',
    '/hub/subscriptions',
    '/%',
  ];
  await kit.often(100, () =>
    kit.open(kit.request(kit.random.pick(methods), kit.random.pick(paths)), { leavesAfterMs: 300 }),
  );
}
