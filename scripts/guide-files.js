// The files of docs/guide.md. A file is shown whole, or as what changes from another one.

/** A block of code that belongs to a file, with the file that it changes, if it is the first to change it. */
const BLOCK = /^<!-- file: (\S+?)(?:, from (\S+))? -->\n```(\w+)\n(.*?)^```$/gms;

/**
 * Builds the files that a guide shows, in its order.
 *
 * A block of `diff` has hunks, with a line of `@@` between them. What a hunk takes away, together with the lines around
 * it, stands in the file exactly once.
 *
 * @param {string} guide its text, as Markdown.
 * @returns {Map<string, string>} the text of each file by its name.
 * @throws {Error} for a change that does not fit its file, a file that is there twice, or one that is not there.
 */
export function filesOf(guide) {
  const files = new Map();
  for (const [, name, from, language, text] of guide.matchAll(BLOCK)) {
    if (language === 'diff') {
      files.set(name, changed(before(files, name, from), text, name));
      continue;
    }
    if (from !== undefined || files.has(name)) {
      throw new Error(
        `${name} is shown whole, so it is neither made from another file nor there already.`,
      );
    }
    files.set(name, text);
  }
  return files;
}

/** The file that a block changes: another one, where a new file begins, or what there is of it already. */
function before(files, name, from) {
  if (from !== undefined && files.has(name)) throw new Error(`${name} begins twice.`);
  const text = files.get(from ?? name);
  if (text === undefined) throw new Error(`${name} changes ${from ?? name}, which is not there.`);
  return text;
}

function changed(text, diff, name) {
  return diff.split(/^@@.*\n/m).reduce((now, hunk) => applied(now, hunk, name), text);
}

function applied(text, hunk, name) {
  const lines = hunk.split('\n').slice(0, -1);
  const wrong = lines.find((line) => line !== '' && !/^[-+ ]/.test(line));
  if (wrong !== undefined) {
    throw new Error(`${name}: a line of a change begins with +, - or a space: ${wrong}`);
  }
  const without = (sign) => lines.filter((line) => line[0] !== sign).map((line) => line.slice(1));
  const [old, fresh] = [without('+'), without('-')];
  if (old.length === lines.length && fresh.length === lines.length) {
    throw new Error(`${name}: a change changes nothing:\n${hunk}`);
  }
  const all = text.split('\n');
  const places = all.flatMap((_, at) => (old.every((line, n) => all[at + n] === line) ? [at] : []));
  if (places.length !== 1) {
    const times = old.length === 0 ? 'anywhere' : `${places.length} times`;
    throw new Error(`${name}: a change fits ${times}, and not at one place:\n${hunk}`);
  }
  return all.toSpliced(places[0], old.length, ...fresh).join('\n');
}
