import { readFileSync, writeFileSync } from 'node:fs';
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

let registry: Registry;

beforeAll(async () => {
  registry = await startRegistry();
}, INSTALL_MS);

afterAll(() => registry.close());

describe.each([
  [
    'koa-sse-hub',
    'npm install koa-sse-hub koa-event-stream koa @types/koa',
    [...README, MIXED, JOURNAL],
  ],
  ['koa-event-stream', 'npm install koa-event-stream koa @types/koa', [STREAMS]],
])('in a new project, %s', (_, command, [snippet = '', ...others]) => {
  let project: InstalledProject;

  beforeAll(async () => {
    const wrong = snippet.replace("send({ data: 'hello from stream' })", 'send({ data: 1 })');
    project = await installedProject(command, registry, [
      ...[snippet, ...others].map((code, index) => [`${index}.ts`, code] as const),
      ['wrong.ts', wrong],
    ]);
  }, INSTALL_MS);

  afterAll(() => project.remove());

  describe.each(Object.entries(COMPILERS))('with %s', (_, compiler) => {
    test.each(Object.entries(RESOLUTIONS))(
      'compiles, but for a mistake, as %s modules',
      async (name, resolution) => {
        const config = join(project.folder, `${name}.json`);
        writeFileSync(config, JSON.stringify({ compilerOptions: { ...STRICT, ...resolution } }));
        const tsc = join(process.cwd(), compiler);
        const { output } = await project.run(`${process.execPath} ${tsc} -p ${config}`);
        expect(output.match(/^\S.*/gm)).toEqual([
          expect.stringMatching(/^wrong\.ts.*'number' is not assignable to type 'string/),
        ]);
      },
      INSTALL_MS,
    );
  });
});
