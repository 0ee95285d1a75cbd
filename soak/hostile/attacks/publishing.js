/** A publisher with a token for its own topics, who wants to be in the way of all others. */

const OWN = 'https://wild.example';
const NDJSON = 'application/x-ndjson';

/** As large as is allowed, to its own topic. */
export async function megabytes(kit) {
  const body = `topic=${OWN}/megabyte&data=${'x'.repeat(1_000_000)}`;
  await kit.often(3, () => kit.ask(kit.publishRequest(body)));
}

/** As many in one body as are allowed. */
export async function thousandsAtOnce(kit) {
  await kit.often(1, () => {
    const lines = Array.from(
      { length: 9_000 },
      (_, index) => `{"topic":"${OWN}/t/${index % 500}"}`,
    );
    return kit.ask(kit.publishRequest(lines.join('\n'), { type: NDJSON }));
  });
}

/** Ids that are those of others, or will be. */
export async function collidingIds(kit) {
  await kit.often(1, () => {
    const first = kit.random.int(1, 20_000);
    const lines = Array.from({ length: 500 }, (_, index) =>
      JSON.stringify({ topic: `${OWN}/ids`, id: `order:${first + index}` }),
    );
    return kit.ask(kit.publishRequest(lines.join('\n'), { type: NDJSON }));
  });
}

/** Keys that are those of others, or fill what remembers them. */
export async function idempotencyKeys(kit) {
  await kit.often(100, () => {
    const key = kit.random.pick([
      `form:${kit.random.int(1, 90_000)}`,
      kit.random.text(250),
      'x'.repeat(300),
    ]);
    const headers = { 'Idempotency-Key': key };
    return kit.ask(kit.publishRequest(`topic=${OWN}/keys`, { headers }));
  });
}

/** Grants of many templates, against as many long topics as go into one body. */
export async function grantsOfTemplates(kit) {
  const publish = Array.from({ length: 5 }, () => `${OWN}/${'{+a}x'.repeat(19)}{+a}`);
  const bearer = kit.tokenOf({ publish });
  const lines = Array.from({ length: 9 }, (_, line) =>
    JSON.stringify({
      topic: Array.from({ length: 100 }, (_, index) =>
        `${OWN}/${line}/${index}/${'x'.repeat(980)}`.slice(0, 1_000),
      ),
    }),
  );
  await kit.often(2, () => kit.ask(kit.publishRequest(lines.join('\n'), { type: NDJSON, bearer })));
}

/** To what is not granted: others' topics, and the hub's own. */
export async function topicsOfOthers(kit) {
  const topics = [
    'https://soak.example/rooms/1/items/1',
    '/.well-known/mercure/chat',
    '/.well-known/mercure/subscriptions/x/y',
    `${OWN}/../soak.example`,
    '*',
  ];
  await kit.often(60, () => {
    const data = `forged ${kit.random.int(1, 10_000)}`;
    const form = new URLSearchParams({ topic: `${OWN}/a`, data });
    form.append('topic', kit.random.pick(topics));
    return kit.ask(kit.publishRequest(form.toString()));
  });
}

/** As many topics as an update may have. */
export async function manyTopics(kit) {
  await kit.often(40, () => {
    const topic = Array.from({ length: 100 }, () => `${OWN}/${kit.random.text(8)}`);
    const body = JSON.stringify({ topic, data: kit.random.text(20) });
    return kit.ask(kit.publishRequest(body, { type: 'application/json' }));
  });
}
