/**
 * `node bench/profile.js FILE…`: where the time of a CPU profile went, by function and by file, without what
 * it called. Profiles are written by `npm run bench -- --cpu-prof`.
 */
import { readFileSync } from 'node:fs';

const LINES = 25;

for (const file of process.argv.slice(2)) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'));
  const byId = new Map(nodes.map((node) => [node.id, node.callFrame]));
  const byFunction = new Map();
  let busy = 0;
  samples.forEach((id, index) => {
    const { functionName, url, lineNumber } = byId.get(id);
    if (functionName === '(idle)') return;
    const place = url.replace(/^.*\/(node_modules|dist|bench)\//, '$1/');
    const name = `${functionName || '(anonymous)'} ${place}${url === '' ? '' : `:${lineNumber + 1}`}`;
    byFunction.set(name, (byFunction.get(name) ?? 0) + timeDeltas[index]);
    busy += timeDeltas[index];
  });
  console.log(`${file}: ${(busy / 1e6).toFixed(2)} s busy`);
  const longest = [...byFunction].sort(([, a], [, b]) => b - a).slice(0, LINES);
  for (const [name, time] of longest) {
    console.log(`${((100 * time) / busy).toFixed(1).padStart(6)} %  ${name}`);
  }
}
