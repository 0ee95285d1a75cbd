/** Templates, which every publish to a new topic is compared with. */
import { costlyTemplate, costlyTemplates, manyTemplates } from './costly.js';

/** Five templates a connection, 100 variables together, while new topics are published to. */
export async function costlyTemplatesAndNewTopics(kit) {
  await kit.times(500, () =>
    kit.open(kit.subscribeRequest(costlyTemplates(kit.random)), { untilAnswered: true }),
  );
  await newTopics(kit);
}

/** A hundred templates a connection. */
export async function manyTemplatesAndNewTopics(kit) {
  await kit.times(500, () =>
    kit.open(kit.subscribeRequest(manyTemplates(kit.random)), { untilAnswered: true }),
  );
  await newTopics(kit);
}

/** Templates that come and go many times a second. */
export async function templatesThatComeAndGo(kit) {
  await kit.often(60, () =>
    kit.open(kit.subscribeRequest([costlyTemplate(kit.random)]), {
      leavesAfterMs: kit.random.int(5, 200),
    }),
  );
}

/** Selectors that are no templates but look like them, and those beyond what is allowed. */
export async function badSelectors(kit) {
  const { random } = kit;
  const bad = [
    () => ['{'.repeat(random.int(1, 900))],
    () => ['{a}'.repeat(random.int(21, 300))],
    () => Array.from({ length: random.int(101, 500) }, () => 'x'),
    () => ['x'.repeat(random.int(1_025, 8_000))],
    () => [`{${'a,'.repeat(200)}a}`],
    () => ['{a:99999999}', '{a:0}', '{a:-1}', '{|a}', '{=b}', '{}', '{ }', '{%zz}'],
    () => [String.fromCodePoint(...Array.from({ length: 200 }, () => random.int(1, 0xd7ff)))],
    () => ['%', '%0', '%00', '%zz', '\u0000'],
    () => [],
  ];
  await kit.often(60, () =>
    kit.open(kit.subscribeRequest(random.pick(bad)()), { leavesAfterMs: 200 }),
  );
}

/** The owner of some topics publishes to ever new ones of them, as long ones as are allowed. */
async function newTopics(kit) {
  await kit.often(10, async () => {
    const lines = Array.from({ length: 10 }, () =>
      JSON.stringify({
        topic: `https://wild.example/${kit.random.text(kit.random.pick([10, 80, 950]))}`,
      }),
    );
    await kit.ask(kit.publishRequest(lines.join('\n'), { type: 'application/x-ndjson' }));
  });
}
