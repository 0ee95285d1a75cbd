import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  INSTALL_MS,
  type InstalledProject,
  installedProject,
} from './support/installed-project.js';
import { type Registry, startRegistry } from './support/registry.js';

const snippets = (file: string) =>
  [...readFileSync(file, 'utf8').matchAll(/```js\n(import Koa .*?)```/gs)].map(
    ([, code = '']) => code,
  );
const README = snippets('README.md');
const [STREAMS = ''] = snippets('packages/koa-event-stream/README.md');

const COMPILERS = {
  'TypeScript 5.9': 'scripts/api-docs/node_modules/typescript/bin/tsc',
  'TypeScript 7': 'node_modules/typescript/bin/tsc',
};

const RESOLUTIONS = {
  nodenext: { module: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
};

/** As strict as a project can be. No `types`: what the packages need is to come by itself. */
const STRICT = {
  ...{ target: 'es2023', lib: ['es2023'], noEmit: true, strict: true, skipLibCheck: false },
  ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
};

/** A stream or an audience of one package where the other asks for one. */
const MIXED = `
  import * as streams from 'koa-event-stream';
  import * as hubs from 'koa-sse-hub';
  import type { Hub, Selection } from 'koa-sse-hub/hub';

  interface Events { token: string; progress: { done: number } }

  new streams.Audience<Events>().add(new hubs.EventStream<Events>());
  new hubs.Audience<Events>().add(new streams.EventStream<Events>());
  export const audience: hubs.Audience<Events> = new streams.Audience<Events>();
  export const middleware: hubs.SseMiddleware<Events> = streams.sse<Events>();
  export function subscribe(hub: Hub, selection: Selection) {
    return hub.subscribe(new streams.EventStream(), selection);
  }
  // @ts-expect-error Members of an audience understand its events.
  new hubs.Audience<{ other: string }>().add(new streams.EventStream<Events>());
  // @ts-expect-error No stream of events.
  new hubs.Audience().add(process.stdout);
`;

const JOURNAL = `
  import type { Journal } from 'koa-sse-hub/journal';
  import { type Keeper, journalContract } from 'koa-sse-hub/journal/contract';

  export const names = (keeper: Keeper) => journalContract(keeper).map(({ name }) => name);
  export const close = (journal: Journal) => journal.close();
`;

/** Files that import one entry point and nothing else; the last one by `require()`. */
const ALONE = {
  'sse.ts': "import { sse } from 'koa-sse-hub'; export const it = sse();",
  'frame.ts': "import { encodeFrame } from 'koa-event-stream'; export const it = encodeFrame({});",
  'hub.ts': "import { Hub } from 'koa-sse-hub/hub'; export const it = (hub: Hub) => hub.close();",
  'mercure.ts': "import { mercure } from 'koa-sse-hub/mercure'; export const it = mercure;",
  'keeper.ts': "import type { Journal } from 'koa-sse-hub/journal'; export type It = Journal;",
  'contract.ts': "export { journalContract } from 'koa-sse-hub/journal/contract';",
  'required.cts': "import hub = require('koa-sse-hub/hub'); export const it = hub.Hub.open;",
};

const PROJECTS = {
  'koa-sse-hub': {
    command: 'npm install koa-sse-hub koa-event-stream koa @types/koa',
    files: [...README, MIXED, JOURNAL],
  },
  'koa-event-stream': {
    command: 'npm install koa-event-stream koa @types/koa',
    files: [STREAMS],
  },
};

let registry: Registry;
const projects = new Map<string, InstalledProject>();

beforeAll(async () => {
  registry = await startRegistry();
  for (const [name, { command, files }] of Object.entries(PROJECTS)) {
    const [snippet = ''] = files;
    const wrong = snippet.replace("send({ data: 'hello from stream' })", 'send({ data: 1 })');
    const sources = [...files.entries()].map(([index, code]) => [`${index}.ts`, code] as const);
    projects.set(
      name,
      await installedProject(command, registry, [...sources, ['wrong.ts', wrong]]),
    );
  }
}, INSTALL_MS);

afterAll(async () => {
  for (const project of projects.values()) project.remove();
  await registry.close();
});

/** What a compiler has to say of files of a project, a line for each mistake. */
async function compile(
  name: string,
  compiler: keyof typeof COMPILERS,
  resolution: object,
  include: readonly string[],
): Promise<string[]> {
  const { folder, run } = projects.get(name) as InstalledProject;
  const config = { compilerOptions: { ...STRICT, ...resolution }, include };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const tsc = join(process.cwd(), COMPILERS[compiler]);
  const { output } = await run(`${process.execPath} ${tsc} --pretty false`);
  return output.match(/^\S.*/gm) ?? [];
}

describe.each(Object.keys(PROJECTS))('in a new project, %s', (name) => {
  describe.each(Object.keys(COMPILERS) as (keyof typeof COMPILERS)[])('with %s', (compiler) => {
    test.each(Object.entries(RESOLUTIONS))(
      'compiles, but for a mistake, as %s modules',
      async (_, resolution) => {
        expect(await compile(name, compiler, resolution, ['*.ts'])).toEqual([
          expect.stringMatching(/^wrong\.ts.*'number' is not assignable to type 'string/),
        ]);
      },
      INSTALL_MS,
    );
  });
});

// TypeScript 7 loads the types of Node only where something refers to them.
test.each(Object.entries(ALONE))(
  'what an entry point needs comes with it (%s)',
  async (file, code) => {
    const { folder } = projects.get('koa-sse-hub') as InstalledProject;
    mkdirSync(join(folder, 'alone'), { recursive: true });
    writeFileSync(join(folder, 'alone', file), code);
    const found = await compile('koa-sse-hub', 'TypeScript 7', RESOLUTIONS.nodenext, [
      `alone/${file}`,
    ]);
    expect(found).toEqual([]);
  },
  INSTALL_MS,
);
