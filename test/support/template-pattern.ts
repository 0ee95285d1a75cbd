/**
 * What a URI Template matches, as a regular expression: another way to say what src/topics/ walks through. It
 * backtracks, so it is for short topics only.
 */
export function templatePattern(template: string): RegExp {
  const parts = template
    .split(/(\{[^{}]*\})/)
    .map((part, index) => (index % 2 ? expression(part) : literal(part)));
  return new RegExp(`^${parts.join('')}$`);
}

const UNRESERVED = 'A-Za-z0-9\\-._~';
const RESERVED = ":/?#[\\]@!$&'()*+,;=";
const HEX = '[\\dA-Fa-f]';
const CONTINUATION = `%[89ABab]${HEX}`;

function literal(text: string): string {
  const encoded = text.replace(/[^\x21-\x7e]+/gu, encodeURIComponent);
  return `(?:${escaped(text)}|${escaped(encoded)})`;
}

function expression(text: string): string {
  const [, operator = '', list = ''] = /^\{([+#./;?&]?)(.*)\}$/.exec(text) ?? [];
  const first = escaped(operator.replace('+', ''));
  const separator = { '': ',', '+': ',', '#': ',', '?': '&' }[operator] ?? operator;
  const allowed = ['+', '#'].includes(operator) ? UNRESERVED + RESERVED : UNRESERVED;
  const named = [';', '?', '&'].includes(operator);
  // Any of the variables in order, at least one.
  const some = list.split(',').reduceRight((later, spec) => {
    const [, name = '', prefix, explode] = /^([^:*]+)(?::(\d+)|(\*))?$/.exec(spec) ?? [];
    let value = explode
      ? `(?:[${allowed}=${separator}]|%${HEX}{2})*`
      : prefix
        ? `(?:${CONTINUATION})*(?:(?:[${allowed}]|%(?![89ABab])${HEX}{2})(?:${CONTINUATION})*){0,${prefix}}`
        : `(?:[${allowed},]|%${HEX}{2})*`;
    if (named && !explode) {
      value = `${escaped(name)}=${value}`;
      if (operator === ';') value = `(?:${value}|${escaped(name)})`;
    }
    return later === '' ? value : `(?:${value}(?:${escaped(separator)}${later})?|${later})`;
  }, '');
  return `(?:${first}${some})?`;
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
