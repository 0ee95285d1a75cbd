// Starts one of examples/: `npm run example NAME`. What follows the name is the example's own.
import { readdirSync } from 'node:fs';

const FOLDER = new URL('../examples/', import.meta.url);

const names = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const [name] = process.argv.splice(2, 1);
if (names.includes(name)) {
  await import(new URL(`${name}/server.js`, FOLDER));
} else {
  const wanted = name === undefined ? 'Which example?' : `There is no example ${name}.`;
  console.error(`${wanted} Start one with npm run example NAME: ${names.join(', ')}.`);
  process.exitCode = 1;
}
