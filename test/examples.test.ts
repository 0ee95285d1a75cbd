import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';

const NAMES = readdirSync('examples', { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);
const README = readFileSync('README.md', 'utf8');

describe('the examples', () => {
  test("stand in the README's list, all of them and no others", () => {
    const listed = [...README.matchAll(/^- \[([\w-]+)\]\(examples\/([\w-]+)\): \w/gm)];
    expect(listed.map(([, , folder]) => folder).sort()).toEqual(NAMES.toSorted());
    for (const [, name, folder] of listed) expect(name).toBe(folder);
  });

  test.each(NAMES)('%s says how it is started', (name) => {
    const text = readFileSync(`examples/${name}/README.md`, 'utf8');
    expect(text).toMatch(new RegExp(`^# ${name}\n`));
    expect(text).toMatch(new RegExp(`^\\$ npm run example ${name}\\b`, 'm'));
  });

  test('are named by the command that starts one, if it is told no name or a wrong one', () => {
    const npm = ['npm', 'run', '--silent', 'example'];
    const node = [process.execPath, 'scripts/example.js'];
    for (const [command = '', ...args] of [[...npm, 'nope'], node, [...node, '..']]) {
      const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
      expect(status).toBe(1);
      expect(stderr).toContain(`Start one with npm run example NAME: ${NAMES.join(', ')}.\n`);
    }
  });
});
