/** The chat, which strangers may write to. */

const MAX_CHARACTERS = 4_000;

export async function chatFlood(kit) {
  await kit.often(200, () => post(kit, kit.random.text(8), kit.random.text(kit.random.int(1, 50))));
}

/** As long as is allowed, of characters that take more room when they are written as JSON. */
export async function longMessages(kit) {
  await kit.often(60, () => {
    const character = kit.random.pick(['x', '\u0000', '\u2028', '\u{1f600}', '"']);
    const message = `x${character.repeat(MAX_CHARACTERS - 2)}`.slice(0, MAX_CHARACTERS - 1);
    return post(kit, kit.random.text(8), `${message}x`);
  });
}

/** Lists of long messages that nobody reads, each reader under a name of its own. */
export async function unreadMessages(kit) {
  await kit.times(300, () =>
    kit.open(kit.request('GET', `/messages?id=${kit.random.text(10)}`), { reads: false }),
  );
  await kit.often(20, () => post(kit, kit.random.text(8), 'x'.repeat(MAX_CHARACTERS)));
}

/** Listeners that come and go. */
export async function listenersThatComeAndGo(kit) {
  await kit.often(100, () =>
    kit.open(kit.request('GET', `/messages?id=${kit.random.text(10)}`), {
      leavesAfterMs: kit.random.int(0, 200),
    }),
  );
}

export async function badMessages(kit) {
  const { random } = kit;
  const bodies = [
    '{}',
    '[]',
    '{"message":7}',
    '{"message":""}',
    'x',
    '{"message":{"a":[]}}',
    '"',
    '',
  ];
  await kit.often(60, () =>
    kit.ask(
      kit.request(
        'POST',
        `/message${random.pick(['', '?id=', '?id=a&id=b', `?id=${'x'.repeat(999)}`, '?id=%00'])}`,
        {
          headers: { 'Content-Type': random.pick(['application/json', 'text/plain', 'x']) },
          body: random.pick([
            ...bodies,
            JSON.stringify({ message: 'x'.repeat(random.int(1, 30_000)) }),
          ]),
        },
      ),
    ),
  );
}

function post(kit, id, message) {
  return kit.open(
    kit.request('POST', `/message?id=${id}`, {
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ message }),
    }),
    { leavesAfterMs: 1_000 },
  );
}
