/**
 * What is published: a marker, the publisher's number, its sequence number, filler. The marker stands nowhere
 * else, in no frame and no header, so that counting markers counts events without parsing, and no marker can be
 * split between two reads. The numbers tell a repeat, a loss and a wrong order.
 */

/** `~` */
export const MARKER = 0x7e;

/** Of the payload that most measures publish, which is the shortest: two markers are at least so far apart. */
export const PAYLOAD_BYTES = 100;

/** From the marker to the end of the sequence number. */
export const STAMP_BYTES = 14;

export function payload(publisher, sequence, bytes = PAYLOAD_BYTES) {
  return `~${pad(publisher, 3)}-${pad(sequence, 9)}-`.padEnd(bytes, 'benchmark');
}

/** The three digits after the marker. */
export function publisherAt(buffer, marker) {
  return number(buffer, marker + 1, 3);
}

export function sequenceAt(buffer, marker) {
  return number(buffer, marker + 5, 9);
}

function pad(value, digits) {
  return String(value).padStart(digits, '0');
}

function number(buffer, from, digits) {
  let value = 0;
  for (let index = from; index < from + digits; index++) value = value * 10 + buffer[index] - 48;
  return value;
}
