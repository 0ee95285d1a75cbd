/** Frames are written into pieces of memory of this size, one behind the other. */
const PIECE_BYTES = 16 * 1024;
/** Larger ones have memory of their own: of a piece no more than this is left over at its end. */
const MAX_SHARING_BYTES = PIECE_BYTES / 8;

/**
 * Memory for frames that are held for long and let go of in the order in which they came. `Buffer.from` takes it from
 * pieces that everything in the process shares: a frame of 100 bytes would keep 8 KB of what was forgotten long ago.
 */
export class FrameMemory {
  #piece = Buffer.alloc(0);
  #used = 0;

  /** A frame as bytes that share their memory with nothing but the frames written before and after. */
  write(frame: string): Buffer {
    const length = Buffer.byteLength(frame);
    if (length > MAX_SHARING_BYTES) {
      const bytes = Buffer.allocUnsafeSlow(length);
      bytes.write(frame);
      return bytes;
    }
    if (this.#used + length > this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += this.#piece.write(frame, start);
    return this.#piece.subarray(start, this.#used);
  }
}
