/** An answer that is fast but not right: it fails the run. */
export class WrongAnswer extends Error {}
