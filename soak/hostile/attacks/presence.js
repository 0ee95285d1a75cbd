/** Subscriptions, whose starts and ends are published. */

/** A hundred selectors each, there and gone. */
export async function subscriptionStorm(kit) {
  await kit.often(20, () =>
    kit.open(kit.subscribeRequest(Array.from({ length: 100 }, () => kit.random.text(8))), {
      leavesAfterMs: kit.random.int(0, 500),
    }),
  );
}

/** A payload that is told with each of them. */
export async function largePayloads(kit) {
  await kit.often(5, () =>
    kit.open(
      kit.subscribeRequest(
        Array.from({ length: 50 }, () => kit.random.text(8)),
        { bearer: kit.tokenOf({ payload: 'x'.repeat(4_000) }) },
      ),
      { leavesAfterMs: kit.random.int(0, 500) },
    ),
  );
}

/** The list of who is there, for those who may not have it, and for one who may have a part. */
export async function subscriptionLists(kit) {
  const bearer = kit.tokenOf({ subscribe: ['/.well-known/mercure/subscriptions/{topic}'] });
  await kit.times(50, () =>
    kit.open(kit.subscribeRequest(Array.from({ length: 100 }, () => kit.random.text(8)))),
  );
  await kit.often(40, () => {
    const path = kit.random.pick([
      '',
      '/*',
      '/%',
      `/${kit.random.text(5)}`,
      '/a/b',
      '/a/b/c',
      '/%2F',
    ]);
    const headers = kit.random.chance(0.5) ? { Authorization: `Bearer ${bearer}` } : {};
    return kit.ask(kit.request('GET', `/.well-known/mercure/subscriptions${path}`, { headers }));
  });
}
