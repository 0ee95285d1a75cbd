/**
 * An id of a publisher, as a header can carry it: what is not visible ASCII, and quotes, which end an entity
 * tag, are percent-encoded. Ids that the hub gives stay as they are.
 */
export function toAscii(id: string): string {
  return id.replace(/[^\x21\x23-\x7e]/gu, encodeURIComponent);
}
