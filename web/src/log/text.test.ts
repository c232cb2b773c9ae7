import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parseLine } from './ansi';
import { parseCommand } from './command';
import { decorate, hits, pattern } from './decorate';
import { contrast, DARK_GROUND, LIGHT_GROUND, READABLE, readable, type Rgb, rgbOf } from './palette';
import { EventReader } from '../live/sse';

function pieces(raw: string, search?: RegExp): string[] {
  const parsed = parseLine(raw);
  return decorate(parsed.runs, parsed.text, hits(parsed.text, search)).map(
    (p) => `${p.text}${p.mask === true ? '|mask' : ''}${p.hit === true ? '|hit' : ''}${p.href === undefined ? '' : `|${p.href}`}`,
  );
}

describe('pieces of a line', () => {
  it('marks masked secrets, addresses and what was found', () => {
    expect(pieces('token=*** end')).toEqual(['token=', '***|mask', ' end']);
    expect(pieces('see https://a.b/c?d=e).')).toEqual(['see ', 'https://a.b/c?d=e|https://a.b/c?d=e', ').']);
    expect(pieces('an Error here', pattern('error', false, false))).toEqual(['an ', 'Error|hit', ' here']);
    expect(pieces('an Error here', pattern('error', false, true))).toEqual(['an Error here']);
    expect(pieces('a.b axb', pattern('a.b', false, true))).toEqual(['a.b|hit', ' axb']);
    expect(pieces('a\x1b[31merr\x1b[0mor', pattern('err?or', true, true))).toEqual(['a', 'err|hit', 'or|hit']);
  });

  it('makes no address of what hides a secret or is none', () => {
    expect(pieces('http://***@host/')).not.toContain('http://***@host/|http://***@host/');
    expect(pieces('javascript://x')).toEqual(['javascript://x']);
  });

  it('does not fail on a pattern that is none', () => {
    expect(pattern('(', true, false)).toBeUndefined();
    expect(pattern('', false, false)).toBeUndefined();
  });

  it('keeps every character', () => {
    const word = fc.constantFrom('***', 'https://a.b/', ' ', 'error', '\x1b[31m', '\x07', '.', 'é', '😀');
    fc.assert(
      fc.property(fc.array(word, { maxLength: 20 }), (words) => {
        const parsed = parseLine(words.join(''));
        const all = decorate(parsed.runs, parsed.text, hits(parsed.text, pattern('r+|\\*', true, false)));
        expect(all.map((p) => p.text).join('')).toBe(parsed.text);
      }),
    );
  });
});

describe('commands', () => {
  it.each([
    ['::group::Build', { kind: 'group', text: 'Build', place: undefined }],
    ['##[group]Old', { kind: 'group', text: 'Old', place: undefined }],
    ['::endgroup::', { kind: 'endgroup', text: '', place: undefined }],
    ['::error file=a%2Cb.c,line=3,col=7::one%0Atwo', { kind: 'error', text: 'one\ntwo', place: 'a,b.c:3:7' }],
    ['::warning::careful', { kind: 'warning', text: 'careful', place: undefined }],
    ['  ::error::indented', { kind: 'error', text: 'indented', place: undefined }],
    ['##[error]broken', { kind: 'error', text: 'broken', place: undefined }],
  ])('%s', (raw, expected) => {
    expect(parseCommand(raw)).toEqual(expected);
  });

  it.each(['text', '::', '::unknown::x', 'a ::error::x', '::set-output name=a::b', '#', '::error'])('%j is text', (raw) => {
    expect(parseCommand(raw)).toBeUndefined();
  });

  it('of any text do not fail', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        parseCommand(`::error ${text}`);
        parseCommand(`##[${text}`);
        const found = parseCommand(`::error::${text}`);
        expect(found?.kind).toBe('error');
      }),
    );
  });
});

describe('colours', () => {
  it('can be read on both grounds', () => {
    fc.assert(
      fc.property(fc.integer({ min: 16, max: 255 }), (index) => {
        for (const ground of [LIGHT_GROUND, DARK_GROUND]) {
          expect(contrast(readable(rgbOf(index), ground), ground)).toBeGreaterThanOrEqual(READABLE - 0.1);
        }
      }),
      { numRuns: 240 },
    );
  });

  it('stay as they are if they can be read already', () => {
    expect(readable([200, 0, 0], [255, 255, 255])).toEqual([200, 0, 0]);
  });

  it('of the style sheet can be read on every ground of the log', () => {
    const sheet = readFileSync(new URL('./log.css', import.meta.url), 'utf8');
    const rgb = (hex: string): Rgb => [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16)) as unknown as Rgb;
    const values = new Map([...sheet.matchAll(/--(log-[\w-]+): light-dark\((#\w{6}), (#\w{6})\)/g)].map((m) => [m[1], [m[2], m[3]]] as const));
    const grounds = [...values].filter(([name]) => name?.startsWith('log-ground'));
    const inks = [...values].filter(([name]) => name?.startsWith('log-ink'));
    expect(grounds.length).toBeGreaterThanOrEqual(4);
    expect(inks.length).toBeGreaterThanOrEqual(18);
    for (const [ground, grounded] of grounds) {
      for (const [ink, inked] of inks) {
        for (const theme of [0, 1]) {
          const ratio = contrast(rgb(inked[theme] ?? ''), rgb(grounded[theme] ?? ''));
          expect(ratio, `${ink} on ${ground}, ${theme === 0 ? 'light' : 'dark'}`).toBeGreaterThanOrEqual(4.5);
        }
      }
    }
  });
});

describe('a stream of events', () => {
  it('is read whatever the pieces are in which it comes', () => {
    const text = ': keep-alive\n\nevent: lines\nid: 7\ndata: {"a":1}\n\nevent: end\r\ndata: x\r\ndata: y\r\n\r\ndata: z\n\n';
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: text.length }), { maxLength: 8 }), (cuts) => {
        const reader = new EventReader();
        const borders = [0, ...cuts.sort((a, b) => a - b), text.length];
        const events = borders.slice(1).flatMap((end, i) => reader.push(text.slice(borders[i], end)));
        expect(events).toEqual([
          { event: 'lines', data: '{"a":1}', id: '7' },
          { event: 'end', data: 'x\ny', id: '7' },
          { event: 'message', data: 'z', id: '7' },
        ]);
      }),
    );
  });
});
