import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from '@jest/globals';

const DOCUMENTS = [
  ...readdirSync('.').filter((name) => name.endsWith('.md')),
  ...readdirSync('docs', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
].sort();

/** Those that stand beside what they are about. */
const READMES = ['examples', 'packages', 'scripts'].flatMap((folder) =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('README.md') && !name.includes('node_modules'))
    .map((name) => join(folder, name)),
);

describe('links in the documents', () => {
  test.each([...DOCUMENTS, ...READMES])(
    '%s: each leads to a file of the repository, and to a heading in it',
    (file) => {
      const text = withoutCode(readFileSync(file, 'utf8'));
      const broken = linksIn(text).filter((link) => !leadsSomewhere(file, link));
      expect(broken).toEqual([]);
    },
  );

  test('a link to a file or a heading that there is not would be found', () => {
    const text =
      'A [file](docs/none.md), a [heading](README.md#no-such), [one that is there](README.md#settings)';
    expect(linksIn(text).filter((link) => !leadsSomewhere('CHANGELOG.md', link))).toEqual([
      'docs/none.md',
      'README.md#no-such',
    ]);
  });

  test('every document is found from README.md', () => {
    const found = new Set(['README.md']);
    for (const file of found) {
      for (const link of linksIn(withoutCode(readFileSync(file, 'utf8')))) {
        const target = join(dirname(file), link.replace(/#.*/, ''));
        if (DOCUMENTS.includes(target)) found.add(target);
      }
    }
    expect([...found].sort()).toEqual(DOCUMENTS);
  });
});

/** Relative ones: what is on the web is others' to keep. */
function linksIn(text: string): string[] {
  const links = [...text.matchAll(/\]\(([^()\s]+)\)/g), ...text.matchAll(/^\[[^\]]+\]: (\S+)$/gm)];
  return links.map(([, link = '']) => link).filter((link) => !/^[a-z]+:/.test(link));
}

function leadsSomewhere(from: string, link: string): boolean {
  const [path = '', heading] = decodeURI(link).split('#');
  const target = path === '' ? from : join(dirname(from), path);
  if (relative('.', resolve(target)).startsWith('..') || !existsSync(target)) return false;
  return heading === undefined || anchorsOf(target).has(heading);
}

/** What GitHub makes of headings, and what the document names itself. */
function anchorsOf(file: string): Set<string> {
  const source = readFileSync(file, 'utf8');
  const anchors = new Set([...source.matchAll(/<a id="([^"]+)">/g)].map(([, id = '']) => id));
  const counts = new Map<string, number>();
  for (const [, title = ''] of withoutCode(source).matchAll(/^#{1,6} (.*)$/gm)) {
    const slug = title
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/\\(.)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const count = counts.get(slug) ?? 0;
    counts.set(slug, count + 1);
    anchors.add(count === 0 ? slug : `${slug}-${count}`);
  }
  return anchors;
}

function withoutCode(text: string): string {
  return text.replace(/^( *)```.*?^\1```$/gms, '');
}
