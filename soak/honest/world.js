/** What honest clients talk about, and who of them may see what. */
import { token } from '../tokens.js';

const ROOMS = 10;
const ITEMS = 20;
export const BASE = 'https://soak.example';

export function topicOf(room, item) {
  return `${BASE}/rooms/${room}/items/${item}`;
}

export function randomTopic(random) {
  return topicOf(random.int(1, ROOMS), random.int(1, ITEMS));
}

/** Selectors, each with what it means told a second time: not by the code that is tested. */
const exactly = (topic) => ({ text: topic, matches: (other) => other === topic });
const all = { text: '*', matches: () => true };
const anyOfOurs = { text: `${BASE}/{+path}`, matches: (topic) => topic.startsWith(`${BASE}/`) };
const anyItem = {
  text: `${BASE}/rooms/{room}/items/{item}`,
  matches: (topic) => /\/rooms\/[^/]+\/items\/[^/]+$/.test(topic),
};
const itemsOf = (room) => ({
  text: `${BASE}/rooms/${room}/items/{item}`,
  matches: (topic) => topic.startsWith(`${BASE}/rooms/${room}/items/`),
});

/** Times in milliseconds. A subscriber that stays is read at once, and its latency is measured. */
const STAYS = {};
const SLOW = { readEveryMs: 300 };
const DROPS = { staysMs: [200, 6_000], awayMs: [0, 3_000] };
const LONG_AWAY = { staysMs: [3_000, 8_000], awayMs: [8_000, 20_000] };
const GOES_BACK = { staysMs: [3_000, 10_000], awayMs: [0, 1_000], goesBack: 5_000 };

export const subscribers = [
  { name: 'reference', asks: [anyOfOurs], sees: [all], isReference: true, ...STAYS },
  ...[1, 2, 3].map((room) => ({
    name: `topics of room ${room}`,
    asks: Array.from({ length: ITEMS }, (_, index) => exactly(topicOf(room, index + 1))),
    sees: [],
    ...STAYS,
  })),
  { name: 'one topic', asks: [exactly(topicOf(1, 1))], sees: [exactly(topicOf(1, 1))], ...STAYS },
  { name: 'template', asks: [anyItem], sees: [], ...STAYS },
  { name: 'template with a grant', asks: [anyItem], sees: [itemsOf(4)], ...STAYS },
  { name: 'everything', asks: [all], sees: [], ...STAYS },
  { name: 'slow template', asks: [anyItem], sees: [itemsOf(5)], ...SLOW },
  { name: 'slow everything', asks: [all], sees: [], ...SLOW },
  { name: 'dropping template', asks: [itemsOf(6), itemsOf(7)], sees: [itemsOf(7)], ...DROPS },
  { name: 'dropping everything', asks: [all], sees: [all], ...DROPS },
  { name: 'dropping topic', asks: [exactly(topicOf(8, 1))], sees: [], ...DROPS },
  { name: 'long away', asks: [anyItem], sees: [all], ...LONG_AWAY },
  { name: 'going back', asks: [anyItem], sees: [itemsOf(9)], ...GOES_BACK },
  { name: 'everything, going back', asks: [all], sees: [], ...GOES_BACK },
];

/** Many more of those who come and go, each interested in little. */
export function crowdOf(count, random) {
  return Array.from({ length: count }, (_, index) => {
    const [room, other] = [random.int(1, ROOMS), random.int(1, ROOMS)];
    const interest = random.pick([
      { asks: [itemsOf(room)], sees: [itemsOf(room)] },
      { asks: [itemsOf(room)], sees: [itemsOf(other)] },
      { asks: [exactly(topicOf(room, 1)), exactly(topicOf(other, 2))], sees: [] },
    ]);
    const habit = random.pick([STAYS, DROPS, DROPS, LONG_AWAY, GOES_BACK]);
    return { name: `crowd ${index + 1}`, ...interest, ...habit };
  });
}

/** How each publisher writes, and how many requests it sends in a second; NDJSON has five updates in each. */
export const publishers = [
  { name: 'form', format: 'form', perSecond: 30 },
  { name: 'json', format: 'json', perSecond: 30 },
  { name: 'ndjson', format: 'ndjson', perSecond: 5 },
  { name: 'own-ids', format: 'json', perSecond: 15, ownIds: true },
  { name: 'private', format: 'form', perSecond: 15, isPrivate: true },
];

/** Whether an update is for a subscriber. */
export function wants({ asks, sees }, { topics, isPrivate }) {
  const cover = (selectors) => selectors.some(({ matches }) => topics.some(matches));
  return cover(asks) && (!isPrivate || cover(sees));
}

export function subscriberToken({ name, sees }) {
  if (sees.length === 0) return undefined;
  return token({ subscribe: sees.map(({ text }) => text) }, { sub: name });
}

export function publisherToken({ name }) {
  return token({ publish: [`${BASE}/{+path}`] }, { sub: name });
}
