// Checks which way the imports of src/ point. `npm run check` runs it.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Each layer may import those right of it, and itself. Neighbours within braces do not import each other.
 * CONTRIBUTING.md shows the same line.
 */
const LAYERS =
  'main → service → server → drain → {http, ops} → mercure → {hub, auth, limits, feeds, requests} → {topics, journal, sse}';

/** Files that import nothing of the project; all but the last layer may import them. */
const LEAVES = ['log', 'time-slice', 'duration', 'config-error', 'npm-parent'];

/** The settings: they know what reads them, and only these layers know the type of all of them. */
const CONFIG = 'config';
const READS_CONFIG = ['main', 'service', 'server', 'http'];
const KNOWN_TO_CONFIG = [
  'secret-files',
  'feeds/names',
  'journal/redis/url',
  'limits/client-address',
  'limits/rate',
  'mercure/restrictions',
];

/** The index of koa-event-stream, which is that of koa-sse-hub, too. */
const SHARED_INDEX = 'index';

/** Programs and entry points beside `main`: each puts together what it needs, and nothing imports them but `main`. */
const ENTRIES = [SHARED_INDEX, 'token-cli', 'check-journal'];

const ranks = new Map(
  LAYERS.split(' → ').flatMap((names, rank, all) =>
    names.match(/[\w-]+/g).map((name) => [name, all.length - rank]),
  ),
);

const SOURCES = fileURLToPath(new URL('../src', import.meta.url));
const wrong = [];

for (const path of readdirSync(SOURCES, { recursive: true }).sort()) {
  if (!path.endsWith('.ts')) continue;
  const file = moduleName(path);
  for (const target of importsOf(join(SOURCES, path))) {
    const reason = objection(file, moduleName(relative(SOURCES, target)));
    if (reason) wrong.push(`src/${path} imports ${relative(SOURCES, target)}: ${reason}`);
  }
}

const map = readFileSync(join(SOURCES, '../CONTRIBUTING.md'), 'utf8').replaceAll(/\s+/g, ' ');
if (!map.includes(`\`${LAYERS}\``)) {
  wrong.push(`CONTRIBUTING.md does not show the layers as they are: ${LAYERS}`);
}
if (wrong.length > 0) {
  console.error(`Imports point one way: ${LAYERS}\n${wrong.join('\n')}`);
  process.exit(1);
}

/** What is wrong with an import, if anything. */
function objection(from, to) {
  const [fromLayer, toLayer] = [layerOf(from), layerOf(to)];
  if (fromLayer === toLayer && from.includes('/')) return undefined;
  if (from === SHARED_INDEX && toLayer !== 'sse') return 'koa-event-stream is src/sse alone';
  if (LEAVES.includes(from)) return `${from} imports nothing of the project`;
  if (LEAVES.includes(to)) {
    return ranks.get(fromLayer) === 1 ? `${fromLayer} imports nothing but itself` : undefined;
  }
  if (from === CONFIG) return KNOWN_TO_CONFIG.includes(to) ? undefined : `it reads no setting`;
  if (to === CONFIG) {
    const mayRead = READS_CONFIG.includes(fromLayer) || ENTRIES.includes(from);
    return mayRead ? undefined : `${fromLayer} is handed the settings it needs`;
  }
  if (to === 'secret-files') return ENTRIES.includes(from) ? undefined : 'config reads the files';
  if (ENTRIES.includes(to)) return from === 'main' ? undefined : 'it is a program of its own';
  if (ENTRIES.includes(from)) return undefined;
  const [fromRank, toRank] = [ranks.get(fromLayer), ranks.get(toLayer)];
  if (fromRank === undefined) return `${from} has no place among the layers`;
  if (toRank === undefined) return `${to} has no place among the layers`;
  if (fromRank > toRank) return undefined;
  return fromRank === toRank ? 'neighbours do not import each other' : 'the arrow points back';
}

/** Of a file in a folder, the folder; else the file. */
function layerOf(name) {
  return name.split('/')[0];
}

/** `http/app` of `http/app.ts`. */
function moduleName(path) {
  return path
    .split(sep)
    .join('/')
    .replace(/\.[jt]s$/, '');
}

/** The project's files that a file imports, types among them. */
function importsOf(file) {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(/(?:\bfrom|\bimport\(?|\bnew URL\()\s*'(\.[^']*\.js)'/g);
  return [...found].map(([, path]) => join(dirname(file), path));
}
