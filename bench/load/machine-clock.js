/** Milliseconds by the clock that all processes of the machine share. `performance.now()` begins with each of them. */
export function machineMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}
