/**
 * Reads the pages of an LMDB file, without LMDB: LMDB trusts them, and a broken one ends the process. Here a
 * broken page is a problem to report, and all that does not hang from it is still read.
 *
 * The layout is that of the LMDB that the package `lmdb` brings (`MDB_page`, `MDB_node`, `MDB_db` and `MDB_meta`
 * in its mdb.c, data version 2), on machines with little-endian numbers of 64 bits.
 */

import { fstatSync, readSync } from 'node:fs';

/** What LMDB notes of a tree: `MDB_db`. */
export interface Tree {
  readonly name: string;
  readonly flags: number;
  readonly depth: number;
  readonly branchPages: number;
  readonly leafPages: number;
  readonly overflowPages: number;
  readonly entries: number;
  readonly root: number;
}

/** One item of a tree. The buffers are valid until the walk goes on. */
export interface Item {
  readonly key: Buffer;
  readonly value: Buffer;
}

export interface Meta {
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: number;
  readonly free: Tree;
  readonly main: Tree;
}

export interface Problem {
  readonly page: number;
  readonly what: string;
}

/** The pages of a file. All that is wrong with them is in `problems`, up to {@link MAX_PROBLEMS} of it. */
export class PageFile {
  readonly problems: Problem[] = [];
  /** The state of the file after the last commit; undefined if that cannot be known. */
  readonly meta: Meta | undefined;
  readonly #fd: number;
  readonly #bytes: number;
  /** A bit for each page that has been found in use or free: none may be found twice. */
  #seen = new Uint8Array(0);
  /** A buffer for each level of a tree. */
  readonly #levels: Buffer[] = [];

  constructor(fd: number) {
    this.#fd = fd;
    this.#bytes = fstatSync(fd).size;
    this.meta = this.#readMetas();
    if (this.meta) this.#seen = new Uint8Array((this.meta.lastPage >> 3) + 1);
  }

  /** So many bytes are missing at the end of the file. */
  get missingBytes(): number {
    return this.meta ? (this.meta.lastPage + 1) * this.meta.pageBytes - this.#bytes : 0;
  }

  /** The named trees of the file, checking the tree that names them. */
  *trees(): Generator<Tree> {
    if (!this.meta) return;
    for (const item of this.items(this.meta.main, 'names')) {
      if (item === undefined) continue;
      yield readTree(item.value, 0, item.key.toString('utf8').replace(/\0$/, ''));
    }
  }

  /**
   * The items of a tree in their order; those of a tree with several values for a key one by one. Yields undefined
   * after each page, so that the caller can give way to others.
   */
  *items(
    tree: Tree,
    kind: 'names' | 'single' | 'multiple' = 'single',
  ): Generator<Item | undefined> {
    const walk: Walk = {
      tree,
      kind,
      byNumber: false,
      counts: { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 },
      floor: undefined,
      last: undefined,
    };
    yield* this.#walkTree(walk);
  }

  /** Checks the list of free pages, all of which no tree may use. Call it when all trees have been walked. */
  *checkFree(): Generator<undefined> {
    const { meta } = this;
    if (!meta) return;
    const walk: Walk = {
      tree: meta.free,
      kind: 'single',
      byNumber: true,
      counts: { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 },
      floor: undefined,
      last: undefined,
    };
    const pages: { first: number; count: number }[] = [];
    for (const item of this.#walkTree(walk)) {
      if (item === undefined) {
        yield;
        continue;
      }
      const listed = this.#readFreeList(item);
      if (listed) pages.push(...listed);
      else this.#problem(meta.free.root, 'the list of free pages cannot be');
    }
    for (const { first, count } of pages) {
      for (let page = first; page < first + count; page++) this.#claim(page, 'is listed as free');
    }
  }

  /**
   * The items of every leaf page in the file, whether a tree has it or not: of trees that are broken, and of
   * earlier states of the file.
   */
  *allItems(): Generator<Item | undefined> {
    const pageBytes = this.meta?.pageBytes ?? COMMON_PAGE_BYTES;
    const page = Buffer.alloc(pageBytes);
    for (let number = 2; number < Math.floor(this.#bytes / pageBytes); number++) {
      yield undefined;
      if (readSync(this.#fd, page, 0, pageBytes, number * pageBytes) !== pageBytes) return;
      if (readNumber(page, 0) !== number || page.readUInt16LE(FLAGS_AT) !== LEAF) continue;
      const count = page.readUInt16LE(LOWER_AT) >> 1;
      for (let index = 0; index < count && HEADER + 2 * index + 2 <= pageBytes; index++) {
        const item = this.#readLoose(page, HEADER + page.readUInt16LE(HEADER + 2 * index));
        if (item) yield item;
      }
    }
  }

  #problem(page: number, what: string): void {
    if (this.problems.length < MAX_PROBLEMS) this.problems.push({ page, what });
  }

  #readMetas(): Meta | undefined {
    const head = Buffer.alloc(HEADER + META_BYTES);
    const read = (at: number): Buffer | undefined =>
      readSync(this.#fd, head, 0, head.length, at) === head.length ? head : undefined;
    const first = read(0) && this.#readMeta(head, 0);
    const second = read(first?.pageBytes ?? COMMON_PAGE_BYTES) && this.#readMeta(head, 1);
    if (!first || !second) return first ?? second ?? undefined;
    const [older, newer] =
      first.transaction > second.transaction ? [first, second].reverse() : [first, second];
    if (!older || !newer) return undefined;
    // Transaction N writes to page N % 2.
    const isNew = newer.transaction === 0;
    const fits = newer.transaction - older.transaction === 1;
    const isAlike =
      older.pageBytes === newer.pageBytes &&
      (older.free.flags === newer.free.flags || older.transaction === 0);
    if (!isAlike || !(isNew || fits)) {
      this.#problem(newer.transaction % 2, 'is a head that does not fit the other one');
    }
    return newer;
  }

  #readMeta(head: Buffer, number: number): Meta | undefined {
    const problem = (what: string): undefined => this.#problem(number, what) as undefined;
    if (
      head.readUInt16LE(FLAGS_AT) !== META ||
      readNumber(head, 0) !== number ||
      head.readUInt32LE(HEADER) !== MAGIC ||
      head.readUInt32LE(HEADER + 4) !== DATA_VERSION
    ) {
      return problem('is not the head of an LMDB file');
    }
    const pageBytes = head.readUInt32LE(HEADER + META_FREE);
    if (pageBytes < 256 || pageBytes > 65_536 || (pageBytes & (pageBytes - 1)) !== 0) {
      return problem('names a size of pages that cannot be');
    }
    const meta = {
      pageBytes,
      free: readTree(head, HEADER + META_FREE, 'free pages'),
      main: readTree(head, HEADER + META_FREE + TREE_BYTES, 'names'),
      lastPage: readNumber(head, HEADER + META_LAST_PAGE),
      transaction: readNumber(head, HEADER + META_TRANSACTION),
    };
    const mapBytes = readNumber(head, HEADER + META_MAP_BYTES);
    if (
      (meta.transaction % 2 !== number && meta.transaction !== 0) ||
      !Number.isSafeInteger(meta.transaction) ||
      meta.lastPage < 1 ||
      meta.lastPage > MAX_PAGES ||
      (meta.free.flags & ~OVERLAPPING_SYNC) !== INTEGER_KEYS ||
      meta.main.flags !== 0 ||
      !Number.isSafeInteger(mapBytes) ||
      mapBytes < (meta.lastPage + 1) * pageBytes
    ) {
      return problem('is a head with numbers that cannot be');
    }
    return meta;
  }

  *#walkTree(walk: Walk): Generator<Item | undefined> {
    const { tree, counts } = walk;
    const before = this.problems.length;
    if (tree.depth > MAX_DEPTH) return this.#problem(tree.root, `${tree.name}: is too deep`);
    if (tree.depth > 0) yield* this.#walkPage(walk, tree.root, tree.depth);
    else if (tree.entries !== 0) this.#problem(0, `${tree.name}: has entries, and no pages`);
    if (this.problems.length > before) return;
    for (const name of ['branchPages', 'leafPages', 'overflowPages', 'entries'] as const) {
      if (counts[name] !== tree[name]) {
        const found = `${name} are ${counts[name]}, and ${tree[name]} in the file's own count`;
        this.#problem(tree.root, `${tree.name}: its ${found}`);
      }
    }
  }

  *#walkPage(walk: Walk, number: number, depth: number): Generator<Item | undefined> {
    const { tree, counts } = walk;
    const isLeaf = depth === 1;
    const page = this.#readPage(number, isLeaf ? LEAF : BRANCH, tree, this.#level(depth));
    if (!page) return;
    const count = this.#nodeCount(page, HEADER, page.length, isLeaf);
    if (count < (isLeaf ? 1 : 2)) {
      return this.#problem(number, `${tree.name}: has nodes that do not fit it`);
    }
    counts[isLeaf ? 'leafPages' : 'branchPages']++;
    for (let index = 0; index < count; index++) {
      const at = HEADER + page.readUInt16LE(HEADER + 2 * index);
      const keyAt = at + NODE;
      const key = page.subarray(keyAt, keyAt + page.readUInt16LE(at + 6));
      if (isLeaf) {
        if (!this.#followsLast(walk, key)) {
          return this.#problem(number, `${tree.name}: has keys that are out of order`);
        }
        yield* this.#readNode(walk, number, page, at, key);
        walk.last = key;
      } else {
        if (index > 0) {
          if (!this.#followsLast(walk, key)) {
            return this.#problem(number, `${tree.name}: has keys that are out of order`);
          }
          walk.floor = Buffer.from(key);
        }
        const child = page.readUInt32LE(at) + page.readUInt16LE(at + 4) * 2 ** 32;
        yield* this.#walkPage(walk, child, depth - 1);
      }
    }
    if (isLeaf) {
      walk.last = walk.last && Buffer.from(walk.last); // The page's buffer is that of the next page.
      yield undefined;
    }
  }

  /** Whether a key is greater than the last one, and not less than the branches above say. */
  #followsLast({ last, floor, byNumber }: Walk, key: Buffer): boolean {
    if (byNumber) {
      if (key.length !== 8) return false;
      return (
        (last === undefined || readNumber(last, 0) < readNumber(key, 0)) &&
        (floor === undefined || readNumber(floor, 0) <= readNumber(key, 0))
      );
    }
    return (
      (last === undefined || last.compare(key) < 0) &&
      (floor === undefined || floor.compare(key) <= 0)
    );
  }

  *#readNode(
    walk: Walk,
    number: number,
    page: Buffer,
    at: number,
    key: Buffer,
  ): Generator<Item | undefined> {
    const { tree, kind, counts } = walk;
    const flags = page.readUInt16LE(at + 4);
    const length = page.readUInt32LE(at);
    const valueAt = at + NODE + key.length;
    const wrong = (): void => this.#problem(number, `${tree.name}: has a node that cannot be`);

    if (kind === 'names') {
      counts.entries++;
      if (flags === SUB_TREE && length === TREE_BYTES) {
        yield { key, value: page.subarray(valueAt, valueAt + length) };
      } else if (flags !== 0) {
        wrong();
      }
      return;
    }
    if (kind === 'multiple' && flags === (SUB_TREE | MULTIPLE)) {
      if (length !== TREE_BYTES) return wrong();
      yield* this.#readSubTree(walk, readTree(page, valueAt, tree.name), key);
      return;
    } else if (kind === 'multiple' && flags === MULTIPLE) {
      yield* this.#readSubPage(walk, number, page.subarray(valueAt, valueAt + length), key);
      return;
    } else if (kind === 'single' && flags === BIG) {
      const value = this.#readOverflow(walk, number, page, valueAt, length);
      if (value) {
        counts.entries++;
        yield { key, value };
      }
      return;
    } else if (flags !== 0) {
      return wrong();
    }
    counts.entries++;
    yield { key, value: page.subarray(valueAt, valueAt + length) };
  }

  /** Several values of one key, in a tree of their own in which they are the keys. */
  *#readSubTree(walk: Walk, tree: Tree, key: Buffer): Generator<Item | undefined> {
    const own = Buffer.from(key);
    const counts = { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 };
    const sub: Walk = { ...walk, tree, kind: 'single', counts, floor: undefined, last: undefined };
    if (tree.flags !== 0 || tree.depth === 0) {
      return this.#problem(tree.root, `${tree.name}: has a tree of values that cannot be`);
    }
    // The levels below are those above the own ones, whose pages are still being read.
    const above = this.#levels.splice(0);
    try {
      for (const item of this.#walkTree(sub)) {
        yield item && { key: own, value: item.key };
      }
    } finally {
      this.#levels.splice(0, this.#levels.length, ...above);
    }
    walk.counts.entries += tree.entries;
  }

  /** Several values of one key, in a small page inside of the node in which they are the keys. */
  *#readSubPage(
    walk: Walk,
    number: number,
    page: Buffer,
    key: Buffer,
  ): Generator<Item | undefined> {
    const wrong = (): void =>
      this.#problem(number, `${walk.tree.name}: has a page of values that cannot be`);
    if (page.length < HEADER || page.readUInt16LE(FLAGS_AT) !== (LEAF | SUB_PAGE)) return wrong();
    const count = this.#nodeCount(page, HEADER, page.length, true);
    if (count < 1) return wrong();
    let last: Buffer | undefined;
    for (let index = 0; index < count; index++) {
      const at = HEADER + page.readUInt16LE(HEADER + 2 * index);
      const value = page.subarray(at + NODE, at + NODE + page.readUInt16LE(at + 6));
      if (page.readUInt32LE(at) !== 0 || (last && last.compare(value) >= 0)) return wrong();
      walk.counts.entries++;
      yield { key, value };
      last = value;
    }
  }

  /** A value that has pages of its own, next to each other. */
  #readOverflow(
    { tree, counts }: Walk,
    number: number,
    page: Buffer,
    at: number,
    length: number,
  ): Buffer | undefined {
    const { pageBytes, lastPage } = this.meta as Meta;
    const first = readNumber(page, at);
    const count = Math.floor((HEADER - 1 + length) / pageBytes) + 1;
    const wrong = (): undefined =>
      this.#problem(number, `${tree.name}: has a large value that cannot be`) as undefined;
    if (readNumber(page, at + 16) !== count || !(first >= 2 && first + count - 1 <= lastPage)) {
      return wrong();
    }
    const bytes = Buffer.allocUnsafe(HEADER + length);
    if (readSync(this.#fd, bytes, 0, bytes.length, first * pageBytes) !== bytes.length) {
      return wrong();
    }
    if (
      readNumber(bytes, 0) !== first ||
      readNumber(bytes, 8) !== readNumber(page, at + 8) ||
      bytes.readUInt16LE(FLAGS_AT) !== OVERFLOW ||
      bytes.readUInt32LE(LOWER_AT) !== count
    ) {
      return wrong();
    }
    for (let n = 0; n < count; n++) if (!this.#claim(first + n, `${tree.name}: is`)) return;
    counts.overflowPages += count;
    return bytes.subarray(HEADER);
  }

  #readPage(number: number, flags: number, tree: Tree, into: Buffer): Buffer | undefined {
    const { transaction, lastPage } = this.meta as Meta;
    if (!(number >= 2 && number <= lastPage)) {
      this.#problem(number, `${tree.name}: is beyond the last page`);
    } else if (readSync(this.#fd, into, 0, into.length, number * into.length) !== into.length) {
      this.#problem(number, `${tree.name}: is beyond the end of the file`);
    } else if (
      readNumber(into, 0) !== number ||
      into.readUInt16LE(FLAGS_AT) !== flags ||
      into.readUInt16LE(FLAGS_AT - 2) !== 0 ||
      !(readNumber(into, 8) <= transaction)
    ) {
      this.#problem(number, `${tree.name}: is another page than it should be`);
    } else if (this.#claim(number, `${tree.name}: is`)) {
      return into;
    }
    return undefined;
  }

  #claim(number: number, what: string): boolean {
    const bit = 1 << (number & 7);
    const byte = this.#seen[number >> 3] as number;
    if (byte & bit) {
      this.#problem(number, `${what} used twice`.replace('free used', 'free and used'));
      return false;
    }
    this.#seen[number >> 3] = byte | bit;
    return true;
  }

  #level(depth: number): Buffer {
    this.#levels[depth] ??= Buffer.alloc((this.meta as Meta).pageBytes);
    return this.#levels[depth];
  }

  /** How many nodes a page has, or -1 if they are not all inside of it, one behind the other. */
  #nodeCount(page: Buffer, from: number, end: number, isLeaf: boolean): number {
    const lower = page.readUInt16LE(LOWER_AT);
    const upper = from + page.readUInt16LE(UPPER_AT);
    if (lower % 2 !== 0 || from + lower > upper || upper > end) return -1;
    let used = 0;
    for (let at = from; at < from + lower; at += 2) {
      const node = from + page.readUInt16LE(at);
      if (node < upper || node % 2 !== 0 || node + NODE > end) return -1;
      let size = NODE + page.readUInt16LE(node + 6);
      if (isLeaf) {
        const isBig = (page.readUInt16LE(node + 4) & BIG) !== 0;
        size += isBig ? OVERFLOW_BYTES : page.readUInt32LE(node);
      }
      if (node + size > end) return -1;
      used += size + (size & 1);
    }
    return used === end - upper ? lower >> 1 : -1;
  }

  /** `MDB_IDL`: how many there are; then page numbers, or less than zero for so many from the next number on. */
  #readFreeList({ value }: Item): { first: number; count: number }[] | undefined {
    const { lastPage } = this.meta as Meta;
    if (value.length < 8 || value.length % 8 !== 0) return undefined;
    const end = 8 * (readNumber(value, 0) + 1);
    if (!(end <= value.length)) return undefined;
    const pages: { first: number; count: number }[] = [];
    for (let at = 8; at < end; at += 8) {
      let count = 1;
      const high = value.readInt32LE(at + 4);
      if (high < 0) {
        count = -(value.readUInt32LE(at) + high * 2 ** 32);
        at += 8;
        if (at >= end) return undefined;
      }
      const first = readNumber(value, at);
      if (first === 0 && count === 1) continue;
      if (!(first >= 2 && first + count - 1 <= lastPage)) return undefined;
      pages.push({ first, count });
    }
    return pages;
  }

  /** An item wherever it lies, as far as it can be read. */
  #readLoose(page: Buffer, at: number): Item | undefined {
    if (at + NODE > page.length) return undefined;
    const valueAt = at + NODE + page.readUInt16LE(at + 6);
    const length = page.readUInt32LE(at);
    const flags = page.readUInt16LE(at + 4);
    if (flags === 0) {
      if (valueAt + length > page.length) return undefined;
      return {
        key: page.subarray(at + NODE, valueAt),
        value: page.subarray(valueAt, valueAt + length),
      };
    }
    if (flags !== BIG || valueAt + OVERFLOW_BYTES > page.length) return undefined;
    const start = readNumber(page, valueAt) * page.length + HEADER;
    if (!(start + length <= this.#bytes)) return undefined;
    const value = Buffer.alloc(length);
    readSync(this.#fd, value, 0, length, start);
    return { key: page.subarray(at + NODE, valueAt), value };
  }
}

/** A walk through a tree, in the order of its keys. */
interface Walk {
  readonly tree: Tree;
  readonly kind: 'names' | 'single' | 'multiple';
  /** Its keys are numbers, and ordered as such. */
  readonly byNumber: boolean;
  readonly counts: {
    branchPages: number;
    leafPages: number;
    overflowPages: number;
    entries: number;
  };
  /** What the branches above say that no key from here on is less than. */
  floor: Buffer | undefined;
  last: Buffer | undefined;
}

const MAX_PROBLEMS = 20;
/** LMDB's own limit (`CURSOR_STACK`). */
const MAX_DEPTH = 32;
/** 16 TiB of pages of 4 KiB: a larger number is no number of a page. */
const MAX_PAGES = 2 ** 32 - 1;
const COMMON_PAGE_BYTES = 4096;

/** The header of a page: its number, its transaction, padding, flags, and where its free space begins and ends. */
const HEADER = 24;
const FLAGS_AT = 18;
const LOWER_AT = 20;
const UPPER_AT = 22;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const META = 0x08;
const SUB_PAGE = 0x40;

/** The header of a node: the length of its value (or its child's number), its flags and the length of its key. */
const NODE = 8;
const BIG = 0x01;
const SUB_TREE = 0x02;
const MULTIPLE = 0x04;
/** What stands for a large value: the number of its first page, its transaction, and how many pages it has. */
const OVERFLOW_BYTES = 24;

const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const META_MAP_BYTES = 16;
const META_FREE = 24;
const TREE_BYTES = 48;
const META_LAST_PAGE = META_FREE + 2 * TREE_BYTES;
const META_TRANSACTION = META_LAST_PAGE + 8;
const META_BYTES = META_TRANSACTION + 8;
const INTEGER_KEYS = 0x08;
/** Never set by a journal, but by others that use the package `lmdb`. */
const OVERLAPPING_SYNC = 0x1000;

function readTree(bytes: Buffer, at: number, name: string): Tree {
  return {
    name,
    flags: bytes.readUInt16LE(at + 4),
    depth: bytes.readUInt16LE(at + 6),
    branchPages: readNumber(bytes, at + 8),
    leafPages: readNumber(bytes, at + 16),
    overflowPages: readNumber(bytes, at + 24),
    entries: readNumber(bytes, at + 32),
    root: readNumber(bytes, at + 40),
  };
}

/** An unsigned number of 64 bits; one beyond what is safe is too large for anything here anyway. */
function readNumber(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}
