/** Templates that are as costly as the service admits them: at most 20 variables each, 100 a connection. */

const EXPRESSIONS = [
  '{+v*}',
  '{/v*}',
  '{.v*}',
  '{;v*}',
  '{?v*}',
  '{&v*}',
  '{#v*}',
  '{v}',
  '{v:999}',
];
const VARIABLES_PER_TEMPLATE = 20;

/** A different one each time. */
export function costlyTemplate(random) {
  const parts = Array.from({ length: VARIABLES_PER_TEMPLATE }, () => random.pick(EXPRESSIONS));
  return `${parts.join(random.pick(['', '', 'a', '%']))}${random.text(6)}`;
}

/** What one connection may ask for at the most. */
export function costlyTemplates(random) {
  return Array.from({ length: 5 }, () => costlyTemplate(random));
}

/** As many templates as one connection may have, one variable each. */
export function manyTemplates(random) {
  return Array.from({ length: 100 }, () => `{+${random.text(4)}}${random.text(8)}`);
}
