// Saves the files of docs/guide.md in dist/guide, each of them whole: `npm run guide`.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesOf } from './guide-files.js';

const GUIDE = fileURLToPath(new URL('../docs/guide.md', import.meta.url));
const FOLDER = fileURLToPath(new URL('../dist/guide', import.meta.url));

const files = filesOf(readFileSync(GUIDE, 'utf8'));
mkdirSync(FOLDER, { recursive: true });
for (const [name, text] of files) writeFileSync(join(FOLDER, name), text);
console.log(`Saved in ${relative('.', FOLDER) || '.'}: ${[...files.keys()].join(', ')}`);
