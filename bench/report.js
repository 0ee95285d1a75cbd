/** Results as tables of text: for the terminal and, as Markdown, for the docs. */

/**
 * One row a server and variant; the cells of a metric are its median, its spread and its ratio to the base.
 *
 * @param result a measure's part of the results.
 */
export function rowsOf(result) {
  const head = ['server'];
  if (result.variants.length > 1) head.push('');
  for (const { label, isRatio } of result.metrics) {
    head.push(label, 'min–max', ...(isRatio ? [] : ['× floor']));
  }
  head.push('server CPU', 'load CPU');

  const rows = [];
  for (const variant of result.variants) {
    for (const { label, variants } of result.servers) {
      const values = variants[variant.id];
      if (values === undefined) continue;
      const row = [label];
      if (result.variants.length > 1) row.push(variant.label);
      if (values.error !== undefined) {
        rows.push([...row, `failed: ${values.error}`]);
        continue;
      }
      for (const { id, scale = 1, isRatio } of result.metrics) {
        const { median, min, max, ratio } = values[id];
        // Of a metric that does not apply to this variant nothing is known.
        if (median === null || Number.isNaN(median)) {
          row.push('', '', ...(isRatio ? [] : ['']));
          continue;
        }
        const spread = `${format(min * scale)}–${format(max * scale)}`;
        row.push(format(median * scale), spread, ...(isRatio ? [] : [format(ratio)]));
      }
      row.push(serverPercent(values), generatorPercent(values.generatorCpu?.median));
      rows.push(row);
    }
  }
  return { head, rows };
}

/** On what, when and how a run was made. */
export function describeRun({ date, size, rounds, machine }) {
  const { cpu, cores, memoryGiB, node, kernel, congestion, pinned } = machine;
  const placed = pinned ? 'server and load generator on a core each' : 'without pinning';
  return `${date.slice(0, 10)}: ${size} run of ${rounds} round${rounds === 1 ? '' : 's'}, Node ${node.slice(1)}, Linux ${kernel} (TCP ${congestion}), ${cpu}, ${cores} cores, ${memoryGiB} GiB; ${placed}.`;
}

export function terminalTable(result) {
  const { head, rows } = rowsOf(result);
  const widths = head.map((title, column) =>
    Math.max(
      title.length,
      ...rows.map((row) => (row.length === head.length ? row[column].length : 0)),
    ),
  );
  const line = (cells) =>
    cells
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]),
      )
      .join('  ');
  return [
    `${result.number}. ${result.title}`,
    line(head),
    ...rows.map(line),
    ...notesOn(result, rows),
    '',
  ].join('\n');
}

export function markdownTable(result) {
  const { head, rows } = rowsOf(result);
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const full = (row) => head.map((_, column) => row[column] ?? '');
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'));
  const table = [line(head), line(rule), ...rows.map(full).map(line)].join('\n');
  return [table, ...notesOn(result, rows)].join('\n\n');
}

/** Three digits that count, and thousands with a comma. */
export function format(value) {
  if (!Number.isFinite(value)) return '';
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const rounded = value >= 1_000 ? Number(value.toPrecision(3)) : value;
  return rounded.toLocaleString('en', {
    minimumFractionDigits: Math.min(digits, 2),
    maximumFractionDigits: Math.min(digits, 2),
  });
}

function percent(share) {
  return share === undefined ? '' : `${Math.round(share * 100)} %`;
}

/** From here on the load generator is, or may be, what holds a server back. */
const GENERATOR_LIMIT = 0.9;
const LIMITED = ' (*)';

/** More than this of a core, used by others, shows in the results. */
const OTHERS_LIMIT = 0.15;

/** Of the server, and of its Redis, which shares the core of the load generator. */
function serverPercent({ serverCpu, redisCpu }) {
  const own = percent(serverCpu?.median);
  return redisCpu?.median > 0 ? `${own} + ${percent(redisCpu.median)} Redis` : own;
}

function generatorPercent(share) {
  return share >= GENERATOR_LIMIT ? percent(share) + LIMITED : percent(share);
}

function notesOn(result, rows) {
  const notes = [];
  if (rows.some((row) => row.at(-1).endsWith(LIMITED))) {
    notes.push(
      '(*) The load generator was at its limit: this server may be faster than the number says.',
    );
  }
  const others = result.servers.flatMap(({ variants }) =>
    Object.values(variants).map(({ othersCpu }) => othersCpu?.max ?? 0),
  );
  const worst = Math.max(0, ...others);
  if (worst > OTHERS_LIMIT) {
    notes.push(`Other processes used up to ${percent(worst)} of a core meanwhile: repeat the run.`);
  }
  return notes;
}
