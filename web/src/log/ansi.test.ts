import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PLAIN, parseLine, safeLink, type Style, styleAfter, TRUE_COLOUR } from './ansi';

/** The line as `text{style}` pieces. */
function shown(raw: string, start?: Style): string {
  return parseLine(raw, start)
    .runs.map((run) => {
      const names = Object.entries({ ...run.style, href: run.href })
        .filter(([, value]) => value !== undefined && value !== false)
        .map(([key, value]) => (value === true ? key : `${key}=${value}`));
      return names.length === 0 ? run.text : `[${run.text}|${names.join(',')}]`;
    })
    .join('');
}

const ESC = '\x1b';

describe('colours and attributes', () => {
  it.each([
    ['plain', 'plain'],
    [`a${ESC}[31mred${ESC}[0mb`, 'a[red|fg=1]b'],
    [`${ESC}[1;92;44mx${ESC}[39my${ESC}[22;49mz`, '[x|bold,fg=10,bg=4][y|bold,bg=4]z'],
    [`${ESC}[2;3;4;7;9mx${ESC}[22;23;24;27;29my`, '[x|dim,italic,underline,inverse,strike]y'],
    [`${ESC}[38;5;208mx`, '[x|fg=208]'],
    [`${ESC}[48;5;7;1mx`, '[x|bg=7,bold]'],
    [`${ESC}[38;2;1;2;3mx`, `[x|fg=${TRUE_COLOUR | 0x010203}]`],
    [`${ESC}[38:2::1:2:3mx${ESC}[38:5:9my`, `[x|fg=${TRUE_COLOUR | 0x010203}][y|fg=9]`],
    [`${ESC}[4:3mx${ESC}[4:0my`, '[x|underline]y'],
    [`${ESC}[mx`, 'x'],
    [`${ESC}[38;5;999mx`, 'x'],
    [`${ESC}[58;5;1;3mx`, '[x|italic]'],
    [`${ESC}[8mhidden is shown`, 'hidden is shown'],
  ])('%j', (raw, expected) => {
    expect(shown(raw)).toBe(expected);
  });

  it('goes on in the next line', () => {
    const first = parseLine(`${ESC}[31mred`);
    expect(shown('still', first.end)).toBe('[still|fg=1]');
    expect(styleAfter(`${ESC}[31mred`, PLAIN)).toEqual(first.end);
  });
});

describe('a line that is written over', () => {
  it.each([
    ['10%\r50%\r100%', '100%'],
    ['100%\r\r', '100%'],
    ['long text\rno', 'nong text'],
    [`long text\r${ESC}[Kno`, 'no'],
    [`abc${ESC}[2K\rxyz`, 'xyz'],
    [`abc\b\bX`, 'aXc'],
    [`abc${ESC}[1GX`, 'Xbc'],
    [`a${ESC}[3Cb`, 'a   b'],
    [`abc${ESC}[2DX`, 'aXc'],
    [`abcdef${ESC}[3D${ESC}[1K`, '    ef'],
    [`abcdef${ESC}[1G${ESC}[2P`, 'cdef'],
    [`x${ESC}[999999999Cy`, `x${' '.repeat(511)}y`],
  ])('%j', (raw, expected) => {
    expect(parseLine(raw).text).toBe(expected);
  });
});

describe('what must not reach the page', () => {
  it.each([
    ['bell\x07', 'bell\u2407'],
    ['nul\0', 'nul\u2400'],
    ['del\x7f', 'del\u2421'],
    ['c1\x9b31m', 'c1<9B>31m'],
    ['\u202egnp.exe', '<202E>gnp.exe'],
    ['a\u2028b', 'a<2028>b'],
    [`lone${ESC}`, 'lone\u241b'],
    [`${ESC}[31`, '\u241b[31'],
    [`${ESC}]0;title\x07text`, 'text'],
    [`${ESC}Pdcs${ESC}\\text`, 'text'],
    [`${ESC}]8;;never ends`, '\u241b]8;;never ends'],
    [`${ESC}(Btext${ESC}=`, 'text'],
    [`${ESC}[?25lcursor${ESC}[?25h`, 'cursor'],
    ['tab\tstays', 'tab\tstays'],
  ])('%j', (raw, expected) => {
    expect(parseLine(raw).text).toBe(expected);
  });
});

describe('links', () => {
  const link = (address: string) => `${ESC}]8;;${address}${ESC}\\here${ESC}]8;;${ESC}\\ after`;
  it('of the web are links', () => {
    expect(shown(link('https://example.com/a?b=c'))).toBe('[here|href=https://example.com/a?b=c] after');
    expect(shown(`${ESC}]8;id=1;http://a.b/\x07x${ESC}]8;;\x07`)).toBe('[x|href=http://a.b/]');
  });
  it.each([
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    ' javascript:alert(1)',
    'data:text/html,x',
    'file:///etc/passwd',
    'vbscript:x',
    '//example.com',
    'http:/x',
    'https://',
    `https://${'a'.repeat(5000)}`,
  ])('%s is text', (address) => {
    expect(safeLink(address)).toBeUndefined();
    expect(shown(link(address))).toBe('here after');
  });
});

describe('any line', () => {
  const part = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom(ESC, `${ESC}[`, `${ESC}]8;;`, '\x07', '\r', '\b', ';', ':', 'm', '38;5;', '\u202e', '\x9b', 'K', '*', '\ud83d'),
    fc.integer().map(String),
  );
  const raw = fc.array(part, { maxLength: 40 }).map((parts) => parts.join('').replace(/\n/g, ''));

  it('is read without a fault, and nothing harmful is left', () => {
    fc.assert(
      fc.property(raw, (line) => {
        const parsed = parseLine(line);
        expect(parsed.runs.map((r) => r.text).join('')).toBe(parsed.text);
        expect(parsed.text).not.toMatch(/[\0-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/);
        for (const run of parsed.runs) {
          expect(run.text).not.toBe('');
          if (run.href !== undefined) expect(run.href).toMatch(/^https?:\/\//);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('keeps its text whatever colours are put between', () => {
    const word = fc.string({ unit: 'grapheme' }).filter((s) => !/[\0-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/.test(s));
    const codes = fc.array(fc.integer({ min: 0, max: 120 }), { maxLength: 6 });
    fc.assert(
      fc.property(fc.array(fc.tuple(word, codes), { maxLength: 12 }), (parts) => {
        const line = parts.map(([text, sgr]) => `${ESC}[${sgr.join(';')}m${text}`).join('');
        expect(parseLine(line).text).toBe(parts.map(([text]) => text).join(''));
      }),
      { numRuns: 300 },
    );
  });

  it('has the same style behind it, read in full or only for its style', () => {
    const codes = fc.array(fc.integer({ min: 0, max: 110 }), { maxLength: 6 });
    fc.assert(
      fc.property(fc.array(codes, { maxLength: 8 }), (groups) => {
        const line = groups.map((sgr) => `x${ESC}[${sgr.join(';')}m`).join('');
        expect(styleAfter(line, PLAIN)).toEqual(parseLine(line).end);
      }),
    );
  });
});
