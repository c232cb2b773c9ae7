/**
 * Markdown of job summaries as a tree of blocks: the parts of GitHub's that
 * summaries use. HTML is text, except for a line break. Pure; nothing here makes
 * markup, so nothing here can be tricked into making any.
 */

/** A piece of running text. */
export type Inline =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'code'; readonly text: string }
  | { readonly kind: 'break' }
  | { readonly kind: 'strong' | 'emphasis' | 'deleted'; readonly children: readonly Inline[] }
  | { readonly kind: 'link'; readonly href: string; readonly children: readonly Inline[] };

/** Alignment of a column. */
export type Align = 'left' | 'center' | 'right' | null;

/** A block. */
export type Block =
  | { readonly kind: 'heading'; readonly level: number; readonly children: readonly Inline[] }
  | { readonly kind: 'paragraph'; readonly children: readonly Inline[] }
  | { readonly kind: 'code'; readonly text: string }
  | { readonly kind: 'quote'; readonly blocks: readonly Block[] }
  | { readonly kind: 'list'; readonly ordered: boolean; readonly start: number; readonly items: readonly Item[] }
  | { readonly kind: 'table'; readonly align: readonly Align[]; readonly head: readonly (readonly Inline[])[]; readonly rows: readonly (readonly (readonly Inline[])[])[] }
  | { readonly kind: 'rule' };

/** An entry of a list; `done` if it is a task. */
export interface Item {
  readonly done: boolean | null;
  readonly blocks: readonly Block[];
}

/** Blocks and brackets within each other, at most; deeper ones are text. */
const DEEPEST = 12;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:\s+(.*?))?(?:\s+#+)?\s*$/;
const RULE = /^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$/;
const BULLET = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const TABLE_LINE = /^ {0,3}\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;

/** Reads Markdown. */
export function markdown(text: string): Block[] {
  return blocksOf(text.replace(/\r\n?/g, '\n').split('\n'), 0);
}

function blocksOf(lines: readonly string[], depth: number): Block[] {
  const blocks: Block[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at] ?? '';
    if (line.trim() === '') {
      at += 1;
      continue;
    }
    const taken = depth < DEEPEST ? special(lines, at, depth) : null;
    if (taken) {
      blocks.push(taken.block);
      at = taken.next;
      continue;
    }
    const begin = at;
    at += 1;
    while (at < lines.length && continues(lines, at)) at += 1;
    blocks.push({ kind: 'paragraph', children: inline(lines.slice(begin, at).map((each) => each.trim()).join('\n')) });
  }
  return blocks;
}

/** Whether a line goes on with the paragraph before it. */
function continues(lines: readonly string[], at: number): boolean {
  const line = lines[at] ?? '';
  return line.trim() !== '' && !FENCE.test(line) && !HEADING.test(line) && !RULE.test(line) && !QUOTE.test(line) && !BULLET.test(line);
}

interface Taken {
  readonly block: Block;
  readonly next: number;
}

function special(lines: readonly string[], at: number, depth: number): Taken | null {
  const line = lines[at] ?? '';
  const fence = FENCE.exec(line);
  if (fence?.[1]) return fenced(lines, at, fence[1]);
  const heading = HEADING.exec(line);
  if (heading?.[1]) return { block: { kind: 'heading', level: heading[1].length, children: inline(heading[2] ?? '') }, next: at + 1 };
  if (RULE.test(line)) return { block: { kind: 'rule' }, next: at + 1 };
  if (QUOTE.test(line)) return quoted(lines, at, depth);
  if (BULLET.test(line)) return listed(lines, at, depth);
  if (line.includes('|') && TABLE_LINE.test(lines[at + 1] ?? '') && (lines[at + 1] ?? '').includes('-')) return tabled(lines, at);
  return null;
}

function fenced(lines: readonly string[], at: number, fence: string): Taken {
  let end = at + 1;
  const closes = (line: string): boolean => {
    const trimmed = line.trim();
    return trimmed.length >= fence.length && trimmed === fence.charAt(0).repeat(trimmed.length);
  };
  while (end < lines.length && !closes(lines[end] ?? '')) end += 1;
  return { block: { kind: 'code', text: lines.slice(at + 1, end).join('\n') }, next: end + 1 };
}

function quoted(lines: readonly string[], at: number, depth: number): Taken {
  const inner: string[] = [];
  let end = at;
  for (; end < lines.length; end += 1) {
    const match = QUOTE.exec(lines[end] ?? '');
    if (!match) break;
    inner.push(match[1] ?? '');
  }
  return { block: { kind: 'quote', blocks: blocksOf(inner, depth + 1) }, next: end };
}

function listed(lines: readonly string[], at: number, depth: number): Taken {
  const first = BULLET.exec(lines[at] ?? '');
  const marker = first?.[2] ?? '-';
  const ordered = /\d/.test(marker);
  const items: Item[] = [];
  let end = at;
  while (end < lines.length) {
    const match = BULLET.exec(lines[end] ?? '');
    if (!match || /\d/.test(match[2] ?? '') !== ordered) break;
    const indent = (match[1] ?? '').length + (match[2] ?? '').length + Math.min((match[3] ?? ' ').length, 4);
    const inner = [match[4] ?? ''];
    end += 1;
    for (; end < lines.length; end += 1) {
      const line = lines[end] ?? '';
      const indented = line.startsWith(' '.repeat(Math.min(indent, 2)));
      if (line.trim() === '') {
        // A blank line belongs to the entry only if the entry goes on behind it.
        const next = lines[end + 1] ?? '';
        if (!next.startsWith('  ') || next.trim() === '') break;
        inner.push('');
      } else if (indented) inner.push(line.slice(Math.min(indent, line.search(/\S/))));
      else if (continues(lines, end)) inner.push(line.trim());
      else break;
    }
    items.push(itemOf(inner, depth));
    // Entries may stand apart by a blank line.
    if ((lines[end] ?? '').trim() === '' && BULLET.test(lines[end + 1] ?? '')) end += 1;
  }
  return { block: { kind: 'list', ordered, start: ordered ? Number.parseInt(marker, 10) : 1, items }, next: end };
}

function itemOf(lines: string[], depth: number): Item {
  const task = /^\[([ xX])\] +(.*)$/.exec(lines[0] ?? '');
  if (task) lines[0] = task[2] ?? '';
  return { done: task ? task[1] !== ' ' : null, blocks: blocksOf(lines, depth + 1) };
}

function tabled(lines: readonly string[], at: number): Taken {
  const align = cellsOf(lines[at + 1] ?? '').map((cell): Align => {
    const mark = cell.trim();
    if (mark.startsWith(':') && mark.endsWith(':')) return 'center';
    return mark.endsWith(':') ? 'right' : mark.startsWith(':') ? 'left' : null;
  });
  const head = cellsOf(lines[at] ?? '').map((cell) => inline(cell));
  const rows: Inline[][][] = [];
  let end = at + 2;
  for (; end < lines.length && (lines[end] ?? '').includes('|'); end += 1) {
    const cells = cellsOf(lines[end] ?? '').map((cell) => inline(cell));
    rows.push(head.map((_, index) => cells[index] ?? []));
  }
  return { block: { kind: 'table', align, head, rows }, next: end };
}

function cellsOf(line: string): string[] {
  const trimmed = line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '');
  return trimmed.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, '|'));
}

/** Reads running text. */
export function inline(text: string, depth = 0): Inline[] {
  const all: Inline[] = [];
  let plain = '';
  const flush = (): void => {
    if (plain !== '') all.push({ kind: 'text', text: plain });
    plain = '';
  };
  let at = 0;
  while (at < text.length) {
    const found = depth < DEEPEST ? pieceAt(text, at, depth) : null;
    if (found) {
      if (found.piece.kind === 'text') plain += found.piece.text;
      else {
        flush();
        all.push(found.piece);
      }
      at = found.next;
    } else {
      plain += text.charAt(at);
      at += 1;
    }
  }
  flush();
  return all;
}

const SPANS: readonly (readonly [mark: string, kind: 'strong' | 'emphasis' | 'deleted'])[] = [
  ['**', 'strong'], ['__', 'strong'], ['~~', 'deleted'], ['*', 'emphasis'], ['_', 'emphasis'],
];

function pieceAt(text: string, at: number, depth: number): { piece: Inline; next: number } | null {
  const char = text.charAt(at);
  if (char === '\n') return { piece: text.charAt(at - 1) === '\\' || text.slice(at - 2, at) === '  ' ? { kind: 'break' } : { kind: 'text', text: '\n' }, next: at + 1 };
  if (char === '\\' && /[!-/:-@[-`{-~]/.test(text.charAt(at + 1))) return { piece: { kind: 'text', text: text.charAt(at + 1) }, next: at + 2 };
  if (char === '`') return codeAt(text, at);
  if (char === '<') return angleAt(text, at);
  if (char === '[' || (char === '!' && text.charAt(at + 1) === '[')) return linkAt(text, at, depth);
  if (char === 'h' && /^https?:\/\//.test(text.slice(at, at + 8)) && !/\w/.test(text.charAt(at - 1))) return bareAt(text, at);
  for (const [mark, kind] of SPANS) if (text.startsWith(mark, at)) return spanAt(text, at, mark, kind, depth);
  return null;
}

function codeAt(text: string, at: number): { piece: Inline; next: number } | null {
  const ticks = /^`+/.exec(text.slice(at, at + 64))?.[0] ?? '`';
  for (let end = text.indexOf(ticks, at + ticks.length); end >= 0; end = text.indexOf(ticks, end + 1)) {
    const wider = text.charAt(end + ticks.length) === '`' || text.charAt(end - 1) === '`';
    if (!wider) return { piece: { kind: 'code', text: text.slice(at + ticks.length, end).replace(/^ (.+) $/, '$1') }, next: end + ticks.length };
  }
  return { piece: { kind: 'text', text: ticks }, next: at + ticks.length };
}

function angleAt(text: string, at: number): { piece: Inline; next: number } | null {
  const rest = text.slice(at, at + 2_000);
  const br = /^<br\s*\/?>/i.exec(rest);
  if (br) return { piece: { kind: 'break' }, next: at + br[0].length };
  const address = /^<(https?:\/\/[^\s<>]+)>/i.exec(rest);
  const href = address?.[1] ? harmless(address[1]) : null;
  return address && href ? { piece: { kind: 'link', href, children: [{ kind: 'text', text: href }] }, next: at + address[0].length } : null;
}

function linkAt(text: string, at: number, depth: number): { piece: Inline; next: number } | null {
  const image = text.charAt(at) === '!';
  const match = /^!?\[((?:[^\]\\]|\\.){0,1000})\]\(\s*<?([^\s()<>]{0,2000})>?(?:\s+["'][^"']*["'])?\s*\)/.exec(text.slice(at, at + 4_000));
  if (!match) return null;
  const href = harmless(match[2] ?? '');
  // An image would be a request to another host; its description leads there instead.
  const label = match[1] ?? '';
  const children = inline(label === '' ? (match[2] ?? '') : label, depth + 1);
  const next = at + match[0].length;
  if (!href) return { piece: { kind: image ? 'emphasis' : 'strong', children }, next };
  return { piece: { kind: 'link', href, children }, next };
}

function bareAt(text: string, at: number): { piece: Inline; next: number } | null {
  const match = /^https?:\/\/[^\s<>"'`]+/.exec(text.slice(at, at + 2_000));
  const address = match?.[0].replace(/[.,:;!?)\]*_]+$/, '');
  const href = address ? harmless(address) : null;
  return address && href ? { piece: { kind: 'link', href, children: [{ kind: 'text', text: address }] }, next: at + address.length } : null;
}

function spanAt(text: string, at: number, mark: string, kind: 'strong' | 'emphasis' | 'deleted', depth: number): { piece: Inline; next: number } | null {
  const inside = at + mark.length;
  const midWord = mark.startsWith('_') && /\w/.test(text.charAt(at - 1));
  if (/\s/.test(text.charAt(inside)) || inside >= text.length || midWord) return null;
  let end = text.indexOf(mark, inside + 1);
  if (mark.length === 1) while (end >= 0 && (text.charAt(end + 1) === mark || text.charAt(end - 1) === mark)) end = text.indexOf(mark, end + 2);
  if (end < 0 || /\s/.test(text.charAt(end - 1))) return null;
  return { piece: { kind, children: inline(text.slice(inside, end), depth + 1) }, next: end + mark.length };
}

/** The address if following it can do no harm: of the web, or of a mailbox. */
export function harmless(address: string): string | null {
  try {
    const url = new URL(address);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
