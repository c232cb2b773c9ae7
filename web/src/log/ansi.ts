/**
 * Reads one line of a log as a terminal would: colours and attributes (SGR), carriage
 * returns and erasing (progress bars), links (OSC 8). What is left is plain runs of text
 * with a style each. It must never throw, never make text disappear that no complete
 * escape sequence covers, and never let a control character through to the page.
 */

/** A colour: 0 to 255 is an entry of the palette; `TRUE_COLOUR | 0xrrggbb` is one of its own. */
export type Colour = number;

/** Marks a colour that is given by its three parts. */
export const TRUE_COLOUR = 0x1000000;

/** How a run of text is drawn. Values are never changed, only replaced. */
export interface Style {
  readonly fg?: Colour;
  readonly bg?: Colour;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly inverse?: boolean;
  readonly strike?: boolean;
}

/** No colours and no attributes. */
export const PLAIN: Style = Object.freeze({});

/** A run of text in one style. */
export interface Run {
  readonly text: string;
  readonly style: Style;
  /** An `http:` or `https:` address; no other scheme gets here. */
  readonly href?: string;
  /** The text stands for a control character. */
  readonly control?: boolean;
}

/** A line as it looks once all its sequences took effect. */
export interface Parsed {
  readonly runs: readonly Run[];
  /** The text of all runs. */
  readonly text: string;
  /** The style that holds at the end of the line, with which the next one begins. */
  readonly end: Style;
}

/** The furthest column to which a sequence may move beyond the text. */
const FURTHEST = 512;

/** Anything that makes a line more than plain text. */
const SPECIAL = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

/** Whether a line can be shown as it is. */
export function isPlain(raw: string): boolean {
  return !SPECIAL.test(raw);
}

/** Reads a line that begins in the style `start`. */
export function parseLine(raw: string, start: Style = PLAIN): Parsed {
  if (isPlain(raw)) {
    return { runs: raw === '' ? [] : [{ text: raw, style: start }], text: raw, end: start };
  }
  const cells = new Cells(start);
  let at = 0;
  while (at < raw.length) {
    const code = raw.charCodeAt(at);
    if (code === 0x1b) {
      at = escape(raw, at, cells);
    } else if (code === 0x0d) {
      cells.column = 0;
      at += 1;
    } else if (code === 0x08) {
      cells.column = Math.max(0, cells.column - 1);
      at += 1;
    } else {
      const point = raw.codePointAt(at) ?? code;
      const wide = point > 0xffff ? 2 : 1;
      const shown = picture(code);
      cells.put(shown ?? raw.slice(at, at + wide), shown !== undefined);
      at += wide;
    }
  }
  return cells.finish();
}

/** The style at the end of a line, without the cost of its text. */
export function styleAfter(raw: string, start: Style): Style {
  if (!raw.includes('\x1b[')) return start;
  let style = start;
    for (const match of raw.matchAll(/\x1b\[([0-9;:]*)m/g)) {
    style = applySgr(match[1] ?? '', style);
  }
  return style;
}

/** What stands for a character that must not reach the page; `undefined` for all others. */
function picture(code: number): string | undefined {
  if (code < 0x20) return code === 0x09 ? undefined : String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return '\u2421';
  // The second control set, marks of direction (they can make code read as what it is not), separators.
  const hidden =
    (code >= 0x80 && code <= 0x9f) ||
    code === 0x61c ||
    code === 0x200e ||
    code === 0x200f ||
    (code >= 0x2028 && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069);
  return hidden ? `<${code.toString(16).toUpperCase().padStart(2, '0')}>` : undefined;
}

/** The line while it is being written: one cell a character, and a cursor. */
class Cells {
  column = 0;
  style: Style;
  href: string | undefined;
  private texts: string[] = [];
  private looks: Look[] = [];
  private look: Look;

  constructor(start: Style) {
    this.style = start;
    this.look = { style: start, href: undefined, control: false };
  }

  /** Writes one character at the cursor. */
  put(text: string, control: boolean): void {
    if (this.look.style !== this.style || this.look.href !== this.href || this.look.control !== control) {
      this.look = { style: this.style, href: this.href, control };
    }
    this.pad(this.column);
    this.texts[this.column] = text;
    this.looks[this.column] = this.look;
    this.column += 1;
  }

  /** Moves the cursor; beyond the text only so far. */
  move(column: number): void {
    this.column = Math.max(0, Math.min(column, Math.max(this.texts.length, FURTHEST)));
  }

  /** Erases: 0 from the cursor on, 1 up to the cursor, 2 everything. */
  erase(what: number): void {
    if (what === 0) {
      this.texts.length = Math.min(this.texts.length, this.column);
      this.looks.length = this.texts.length;
    } else if (what === 1) {
      this.blank(Math.min(this.column + 1, this.texts.length));
    } else if (what === 2) {
      this.texts.length = 0;
      this.looks.length = 0;
    }
  }

  /** Removes `count` characters at the cursor. */
  remove(count: number): void {
    this.texts.splice(this.column, count);
    this.looks.splice(this.column, count);
  }

  private blank(end: number): void {
    const look = { style: PLAIN, href: undefined, control: false };
    for (let i = 0; i < end; i += 1) {
      this.texts[i] = ' ';
      this.looks[i] = look;
    }
  }

  private pad(column: number): void {
    const look = { style: PLAIN, href: undefined, control: false };
    while (this.texts.length < column) {
      this.texts.push(' ');
      this.looks.push(look);
    }
  }

  finish(): Parsed {
    const runs: Run[] = [];
    let from = 0;
    for (let i = 1; i <= this.texts.length; i += 1) {
      const look = this.looks[from];
      const next = this.looks[i];
      if (look === undefined || (next !== undefined && (next === look || same(next, look)))) continue;
      const text = this.texts.slice(from, i).join('');
      runs.push({
        text,
        style: look.style,
        ...(look.href === undefined ? {} : { href: look.href }),
        ...(look.control ? { control: true } : {}),
      });
      from = i;
    }
    return { runs, text: this.texts.join(''), end: this.style };
  }
}

interface Look {
  readonly style: Style;
  readonly href: string | undefined;
  readonly control: boolean;
}

function same(a: Look, b: Look): boolean {
  return a.href === b.href && a.control === b.control && sameStyle(a.style, b.style);
}

/** Whether two styles look the same. */
export function sameStyle(a: Style, b: Style): boolean {
  return (
    a === b ||
    (a.fg === b.fg &&
      a.bg === b.bg &&
      !a.bold === !b.bold &&
      !a.dim === !b.dim &&
      !a.italic === !b.italic &&
      !a.underline === !b.underline &&
      !a.inverse === !b.inverse &&
      !a.strike === !b.strike)
  );
}

const CSI = /\x1b\[([0-?]*)([ -/]*)([@-~])/y;
// Text of a string sequence ends at BEL or ST; without an end it is no sequence.
const STRING = /\x1b([\]PX^_])([^\x07\x1b]*)(?:\x07|\x1b\\)/y;
const SHORT = /\x1b[ -/]*[0-OQ-WYZ\\`-~]/y;

/** Takes the sequence at `at`; says where it ends. */
function escape(raw: string, at: number, cells: Cells): number {
  CSI.lastIndex = at;
  const csi = CSI.exec(raw);
  if (csi !== null) {
    if (csi[2] === '') {
      control(csi[1] ?? '', csi[3] ?? '', cells);
    }
    return at + csi[0].length;
  }
  STRING.lastIndex = at;
  const string = STRING.exec(raw);
  if (string !== null) {
    if (string[1] === ']') {
      link(string[2] ?? '', cells);
    }
    return at + string[0].length;
  }
  SHORT.lastIndex = at;
  const short = SHORT.exec(raw);
  if (short !== null) return at + short[0].length;
  cells.put('\u241b', true);
  return at + 1;
}

function control(parameters: string, final: string, cells: Cells): void {
  if (/[<-?]/.test(parameters)) return;
  const first = Number.parseInt(parameters, 10);
  const count = Number.isNaN(first) || first === 0 ? 1 : first;
  switch (final) {
    case 'm':
      cells.style = applySgr(parameters, cells.style);
      break;
    case 'K':
      cells.erase(Number.isNaN(first) ? 0 : first);
      break;
    case 'J':
      if (first === 2 || first === 3) {
        cells.erase(2);
      } else {
        cells.erase(Number.isNaN(first) ? 0 : first);
      }
      break;
    case 'G':
    case '`':
      cells.move(count - 1);
      break;
    case 'C':
      cells.move(cells.column + count);
      break;
    case 'D':
      cells.move(cells.column - count);
      break;
    case 'P':
      cells.remove(count);
      break;
    default:
      // Other movements have no meaning inside one line.
      break;
  }
}

function link(body: string, cells: Cells): void {
  const parts = /^8;[^;]*;(.*)$/s.exec(body);
  if (parts === null) return;
  cells.href = safeLink(parts[1] ?? '');
}

/** The address if following it can do nothing but open a page of the web. */
export function safeLink(address: string): string | undefined {
  if (!/^https?:\/\//i.test(address) || address.length > 4096) return undefined;
  try {
    const url = new URL(address);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : undefined;
  } catch {
    return undefined;
  }
}

/** A style after the parameters of an SGR sequence. */
function applySgr(parameters: string, before: Style): Style {
  const style: { -readonly [K in keyof Style]: Style[K] } = { ...before };
  const groups = parameters.split(';');
  for (let i = 0; i < groups.length; i += 1) {
    const group = groups[i] ?? '';
    const sub = group.split(':');
    const code = group === '' ? 0 : Number(sub[0]);
    if (code === 38 || code === 48) {
      const [colour, used] = sub.length > 1 ? [colonColour(sub), 0] : listColour(groups, i + 1);
      i += used;
      if (colour !== undefined) {
        style[code === 38 ? 'fg' : 'bg'] = colour;
      }
      continue;
    }
    if (code === 58 && sub.length === 1) {
      i += listColour(groups, i + 1)[1];
      continue;
    }
    attribute(code, sub[1], style);
  }
  return Object.values(style).every((v) => v === undefined || v === false) ? PLAIN : style;
}

function attribute(code: number, sub: string | undefined, style: { -readonly [K in keyof Style]: Style[K] }): void {
  if (code >= 30 && code <= 37) {
    style.fg = code - 30;
  } else if (code >= 90 && code <= 97) {
    style.fg = code - 82;
  } else if (code >= 40 && code <= 47) {
    style.bg = code - 40;
  } else if (code >= 100 && code <= 107) {
    style.bg = code - 92;
  }
  switch (code) {
    case 0:
      for (const key of Object.keys(style) as (keyof Style)[]) {
        delete style[key];
      }
      break;
    case 1:
      style.bold = true;
      break;
    case 2:
      style.dim = true;
      break;
    case 3:
      style.italic = true;
      break;
    case 4:
      style.underline = sub !== '0';
      break;
    case 7:
      style.inverse = true;
      break;
    case 9:
      style.strike = true;
      break;
    case 21:
      style.underline = true;
      break;
    case 22:
      delete style.bold;
      delete style.dim;
      break;
    case 23:
      delete style.italic;
      break;
    case 24:
      delete style.underline;
      break;
    case 27:
      delete style.inverse;
      break;
    case 29:
      delete style.strike;
      break;
    case 39:
      delete style.fg;
      break;
    case 49:
      delete style.bg;
      break;
    default:
      // Blinking and concealing are left out: text of a log is always shown.
      break;
  }
}

/** `38;5;n` and `38;2;r;g;b`: the colour, and how many parameters it took. */
function listColour(groups: readonly string[], at: number): [Colour | undefined, number] {
  if (groups[at] === '5') return [byte(groups[at + 1]), 2];
  if (groups[at] === '2') return [rgb(groups[at + 1], groups[at + 2], groups[at + 3]), 4];
  return [undefined, 0];
}

/** `38:5:n`, `38:2:r:g:b` and `38:2:space:r:g:b`. */
function colonColour(sub: readonly string[]): Colour | undefined {
  if (sub[1] === '5') return byte(sub[2]);
  if (sub[1] === '2') {
    const shift = sub.length > 5 ? 1 : 0;
    return rgb(sub[2 + shift], sub[3 + shift], sub[4 + shift]);
  }
  return undefined;
}

function byte(text: string | undefined): number | undefined {
  const value = text === undefined || text === '' ? 0 : Number(text);
  return value >= 0 && value <= 255 ? value : undefined;
}

function rgb(r: string | undefined, g: string | undefined, b: string | undefined): Colour | undefined {
  const [red, green, blue] = [byte(r), byte(g), byte(b)];
  if (red === undefined || green === undefined || blue === undefined) return undefined;
  return TRUE_COLOUR | (red << 16) | (green << 8) | blue;
}
