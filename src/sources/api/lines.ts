/** Cuts a stream of bytes into lines. Lines are cut before they are decoded: a chunk may end inside a UTF-8 sequence. */

export class LineTooLong extends Error {
  override name = 'LineTooLong';
}

export class LineSplitter {
  readonly #limit: number;
  #pending: Buffer[] = [];
  #size = 0;

  /** @param limit bytes that one line may have. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * The lines that this chunk completes, without their newline, empty ones left out.
   * @throws LineTooLong for a line, complete or not, over the limit.
   */
  push(chunk: Buffer): string[] {
    const lines: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end !== -1; end = chunk.indexOf(0x0a, start)) {
      this.#add(chunk.subarray(start, end));
      if (this.#size > 0) lines.push(Buffer.concat(this.#pending, this.#size).toString('utf8'));
      this.#pending = [];
      this.#size = 0;
      start = end + 1;
    }
    this.#add(chunk.subarray(start));
    return lines;
  }

  #add(part: Buffer): void {
    if (part.length === 0) return;
    this.#size += part.length;
    if (this.#size > this.#limit) throw new LineTooLong(`a line of more than ${this.#limit} bytes`);
    this.#pending.push(part);
  }
}
