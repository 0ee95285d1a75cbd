/** Bar charts as SVG: one file a metric, readable on a light and on a dark page. */
import { format } from './report.js';

const WIDTH = 720;
const LABEL_WIDTH = 210;
const VALUE_WIDTH = 110;
const BAR_HEIGHT = 20;
const GAP = 8;
const TOP = 44;

/**
 * Medians as bars from zero, their spread as a line over the bar's end.
 *
 * @param chart.title what is shown, with its unit.
 * @param chart.bars `{ label, median, min, max, isOurs }`; one with an `error` has no bar.
 */
export function barChart({ title, better, bars }) {
  const height = TOP + bars.length * (BAR_HEIGHT + GAP) + GAP;
  const largest = Math.max(...bars.map(({ max = 0 }) => max), Number.MIN_VALUE);
  const scale = (WIDTH - LABEL_WIDTH - VALUE_WIDTH) / largest;
  const rows = bars.map((bar, index) => row(bar, TOP + index * (BAR_HEIGHT + GAP), scale));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escapeXml(title)}">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.title { font-weight: 600; font-size: 14px; }
.note { fill: #57606a; }
.bar { fill: #8c959f; }
.ours { fill: #0969da; }
.spread { stroke: #24292f; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .note { fill: #9198a1; }
  .bar { fill: #6e7681; }
  .ours { fill: #4493f8; }
  .spread { stroke: #e6edf3; }
}
</style>
<text class="title" x="8" y="20">${escapeXml(title)} <tspan class="note">(${better} is better)</tspan></text>
${rows.join('\n')}
</svg>
`;
}

function row({ label, median, min, max, error, isOurs }, y, scale) {
  const baseline = y + BAR_HEIGHT / 2 + 4.5;
  const name = `<text x="${LABEL_WIDTH - 10}" y="${baseline}" text-anchor="end">${escapeXml(label)}</text>`;
  if (error !== undefined) {
    return `${name}<text class="note" x="${LABEL_WIDTH}" y="${baseline}">wrong answer</text>`;
  }
  const at = (value) => round(LABEL_WIDTH + value * scale);
  const middle = y + BAR_HEIGHT / 2;
  return [
    name,
    `<rect class="${isOurs ? 'ours' : 'bar'}" x="${LABEL_WIDTH}" y="${y}" width="${round(median * scale)}" height="${BAR_HEIGHT}" rx="2"/>`,
    `<line class="spread" x1="${at(min)}" x2="${at(max)}" y1="${middle}" y2="${middle}"/>`,
    `<text x="${at(max) + 8}" y="${baseline}">${format(median)}</text>`,
  ].join('');
}

function round(value) {
  return Math.round(value * 10) / 10;
}

function escapeXml(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
