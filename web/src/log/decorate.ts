/**
 * Cuts the runs of a line into the pieces that are drawn: what a search found, masked
 * secrets, and addresses of the web. It moves no text and drops none. Pure.
 */
import { type Run, type Style, safeLink } from './ansi';

/** A piece of a line that looks the same throughout. */
export interface Piece {
  readonly text: string;
  readonly style: Style;
  readonly href?: string;
  readonly control?: boolean;
  /** A secret was here. */
  readonly mask?: boolean;
  /** A search found it. */
  readonly hit?: boolean;
}

/** Where something lies in the text of a line: start, and behind its end. */
export type Span = readonly [number, number];

const MASK = /\*{3,}/g;
const ADDRESS = /\bhttps?:\/\/[^\s<>"'`\u0000-\u001f]+/gi;

/** The pieces of a line in which a search found `hits` (in order, without overlap). */
export function decorate(runs: readonly Run[], text: string, hits: readonly Span[]): Piece[] {
  const masks = text.includes('***') ? spans(text, MASK) : [];
  const links = text.includes('://') ? addresses(text) : [];
  if (masks.length === 0 && links.length === 0 && hits.length === 0) return runs.slice();
  const pieces: Piece[] = [];
  let at = 0;
  for (const run of runs) {
    const end = at + run.text.length;
    for (const [from, to] of cuts(at, end, [masks, links, hits])) {
      const link = run.href ?? (run.control === true ? undefined : links.find((l) => covers(l, from))?.href);
      pieces.push({
        text: run.text.slice(from - at, to - at),
        style: run.style,
        ...(link === undefined ? {} : { href: link }),
        ...(run.control === true ? { control: true } : {}),
        ...(masks.some((m) => covers(m, from)) ? { mask: true } : {}),
        ...(hits.some((h) => covers(h, from)) ? { hit: true } : {}),
      });
    }
    at = end;
  }
  return pieces;
}

function covers(span: Span | Link, at: number): boolean {
  return 'href' in span ? span.from <= at && at < span.to : span[0] <= at && at < span[1];
}

interface Link {
  readonly from: number;
  readonly to: number;
  readonly href: string;
}

function spans(text: string, pattern: RegExp): Span[] {
  return [...text.matchAll(pattern)].map((m) => [m.index, m.index + m[0].length] as const);
}

function addresses(text: string): Link[] {
  const found: Link[] = [];
  for (const match of text.matchAll(ADDRESS)) {
    // What ends a sentence or closes a bracket is no part of the address.
    const address = match[0].replace(/[.,;:!?'")\]}>]+$/, '');
    const href = address.includes('***') ? undefined : safeLink(address);
    if (href !== undefined) {
      found.push({ from: match.index, to: match.index + address.length, href });
    }
  }
  return found;
}

/** The stretches between `from` and `to` that no border divides. */
function cuts(from: number, to: number, lists: readonly (readonly (Span | Link)[])[]): Span[] {
  const borders = new Set<number>([from, to]);
  for (const list of lists) {
    for (const span of list) {
      const [start, end] = 'href' in span ? [span.from, span.to] : span;
      for (const border of [start, end]) {
        if (border > from && border < to) {
          borders.add(border);
        }
      }
    }
  }
  const sorted = [...borders].sort((a, b) => a - b);
  return sorted.slice(1).map((end, i) => [sorted[i] ?? from, end] as const);
}

/** A pattern that finds in one line what the server's search finds; `undefined` if it is not one. */
export function pattern(text: string, regex: boolean, matchCase: boolean): RegExp | undefined {
  if (text === '') return undefined;
  const source = regex ? text : text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  try {
    return new RegExp(source, matchCase ? 'gu' : 'giu');
  } catch {
    return undefined;
  }
}

/** Hits are only looked for in so much of a line. */
const SEARCHED = 20_000;

/** Where a pattern matches. */
export function hits(text: string, found: RegExp | undefined): Span[] {
  if (found === undefined) return [];
  const list: Span[] = [];
  for (const match of text.slice(0, SEARCHED).matchAll(found)) {
    if (match[0] !== '') {
      list.push([match.index, match.index + match[0].length]);
    }
    if (list.length >= 500) break;
  }
  return list;
}
