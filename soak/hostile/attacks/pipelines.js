/** Thousands of requests on one connection, before the first is answered. */

const COUNT = 20_000;
const CHUNK = 500;

export async function pipelinedStreams(kit) {
  await pipeline(kit, () => kit.subscribeRequest([kit.random.text(5)]));
}

export async function pipelinedHeads(kit) {
  await pipeline(kit, () => kit.request('HEAD', kit.random.pick(['/', '/hub?topic=a', '/stream'])));
}

export async function pipelinedPosts(kit) {
  await pipeline(kit, () =>
    kit.request('POST', '/hub', {
      headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      body: 'topic=x&data=y',
    }),
  );
}

/** With a token: each of them is published. */
export async function pipelinedPublishes(kit) {
  await pipeline(kit, () => kit.publishRequest('topic=https://wild.example/x&data=y'));
}

/** Answers that are never read. */
export async function pipelinedUnread(kit) {
  await pipeline(kit, () => kit.request('GET', kit.random.pick(['/', '/nothing', '/messages'])), {
    reads: false,
  });
}

/** Of all sorts. */
export async function pipelinedMixture(kit) {
  const { random } = kit;
  await pipeline(kit, () =>
    random.pick([
      () => kit.request('HEAD', '/'),
      () => kit.request('GET', '/'),
      () => kit.request('OPTIONS', '/hub', { headers: { Origin: 'https://evil.example' } }),
      () => kit.request('DELETE', `/${random.text(6)}`),
      () => kit.subscribeRequest([random.text(4)]),
      () => kit.publishRequest(`topic=https://wild.example/${random.text(3)}`),
      () => kit.publishRequest('no topic'),
    ])(),
  );
}

async function pipeline(kit, makeRequest, options) {
  const socket = await kit.open(undefined, options);
  const chunk = Buffer.concat(Array.from({ length: CHUNK }, makeRequest));
  for (let sent = 0; sent < COUNT && kit.isRunning; sent += CHUNK) {
    if (!(await kit.write(socket, chunk))) break;
  }
  await kit.pause(kit.random.int(100, 3_000));
  kit.leave(socket);
}
