// What the build does with src/sse as compiled, which two packages have: koa-sse-hub and koa-event-stream.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { transformSync } from 'esbuild';

const BUILT = 'dist';
const PACKAGE = 'packages/koa-event-stream/dist';

/**
 * Has compilers compare the classes by what they offer. For a class with private members tsc declares `#private`, which
 * makes it another type in each package: a stream of the one would not be accepted by the other, though it works.
 */
export function compareByShape() {
  const folder = join(BUILT, 'sse');
  for (const name of readdirSync(folder)) {
    if (!name.endsWith('.d.ts')) continue;
    const file = join(folder, name);
    // The line stays, for the declaration maps.
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(/^ +#private;$/gm, ''));
  }
}

/** Copies those declarations into koa-event-stream that a user's compiler comes to from its index. */
export function copyDeclarations() {
  const files = new Set(['index.d.ts']);
  for (const file of files) {
    const text = readFileSync(join(BUILT, file), 'utf8');
    for (const [, path] of text.matchAll(/'(\.[^']*)\.js'/g)) {
      files.add(join(dirname(file), `${path}.d.ts`));
    }
    const copy = join(PACKAGE, file);
    mkdirSync(dirname(copy), { recursive: true });
    // Without the maps: they lead to the sources, which would be half of the package.
    writeFileSync(copy, text.replace(/^\/\/# sourceMappingURL=.*\n?/m, ''));
  }
}

/**
 * Takes blanks out of the package's files, which are a quarter of what tsc writes: most of them from the code, where
 * names stay for those who read a stack trace, and those of indents from the declarations, which people read.
 */
export function compact() {
  for (const name of readdirSync(PACKAGE, { recursive: true })) {
    const file = join(PACKAGE, name);
    if (!statSync(file).isFile()) continue;
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, name.endsWith('.js') ? compactCode(text) : indentByTabs(text));
  }
}

function compactCode(text) {
  const options = { format: 'esm', target: 'es2023', minifyWhitespace: true, minifySyntax: true };
  return transformSync(text, options).code;
}

function indentByTabs(text) {
  return text.replaceAll(/^(?: {4})+/gm, (blanks) => '\t'.repeat(blanks.length / 4));
}
