/**
 * Draws the text of a line: its pieces as text nodes and spans, never as HTML. Colours of
 * the theme are classes; colours that a line names itself are set through the DOM, made
 * readable on the ground they stand on.
 */
import { memo, type CSSProperties, type ReactNode } from 'react';
import { type Parsed, parseLine, type Style } from './ansi';
import { decorate, hits, type Piece } from './decorate';
import { css, DARK_GROUND, isNamed, LIGHT_GROUND, luminance, readable, type Rgb, rgbOf } from './palette';
import type { LogLine } from './wire';

/** The sixteen colours where a ground is named too: the theme has no say there. */
const TERMINAL: readonly Rgb[] = [
  [30, 33, 39], [190, 40, 40], [24, 122, 56], [152, 104, 1], [36, 92, 196], [136, 56, 160], [14, 116, 128], [208, 212, 218],
  [92, 99, 112], [226, 72, 72], [64, 168, 96], [212, 160, 32], [88, 148, 240], [184, 104, 208], [56, 176, 188], [248, 250, 252],
];

const parsed = new WeakMap<LogLine, { text: string; style: Style; parsed: Parsed }>();

/** The line as it looks; kept as long as the line is. */
export function parsedOf(line: LogLine, text: string, style: Style): Parsed {
  const known = parsed.get(line);
  if (known !== undefined && known.style === style && known.text === text) return known.parsed;
  const fresh = parseLine(text, style);
  parsed.set(line, { text, style, parsed: fresh });
  return fresh;
}

/** The text of a line. */
export const LineText = memo(function LineText(props: {
  line: LogLine;
  text: string;
  style: Style;
  search: RegExp | undefined;
}) {
  const { runs, text } = parsedOf(props.line, props.text, props.style);
  return <>{decorate(runs, text, hits(text, props.search)).map(drawn)}</>;
});

function drawn(piece: Piece, index: number): ReactNode {
  const [className, style] = look(piece);
  if (piece.href !== undefined) {
    return (
      <a
        key={index}
        href={piece.href}
        target="_blank"
        rel="noopener noreferrer nofollow"
        className={`log-link ${className}`}
        style={style}
        tabIndex={-1}
        title={piece.href}
      >
        {piece.text}
      </a>
    );
  }
  if (className === '' && style === undefined) return piece.text;
  const Tag = piece.hit === true ? 'mark' : 'span';
  return (
    <Tag key={index} className={className} style={style}>
      {piece.text}
    </Tag>
  );
}

function look(piece: Piece): [string, CSSProperties | undefined] {
  const { style } = piece;
  const names: string[] = [];
  if (style.bold === true) names.push('log-bold');
  if (style.dim === true) names.push('log-dim');
  if (style.italic === true) names.push('log-italic');
  if (style.underline === true) names.push('log-underline');
  if (style.strike === true) names.push('log-strike');
  if (piece.mask === true) names.push('log-mask');
  if (piece.control === true) names.push('log-control');
  if (piece.hit === true) {
    names.push('log-hit');
    return [names.join(' '), undefined];
  }
  const ink = style.inverse === true ? style.bg : style.fg;
  const ground = style.inverse === true ? style.fg : style.bg;
  if (style.inverse === true && ground === undefined && ink === undefined) {
    names.push('log-inverse');
    return [names.join(' '), undefined];
  }
  if (ground !== undefined || style.inverse === true) {
    return [[...names, 'log-ground'].join(' '), onGround(ink, ground)];
  }
  if (ink === undefined) return [names.join(' '), undefined];
  if (isNamed(ink)) return [[...names, `log-c${ink}`].join(' '), undefined];
  const rgb = rgbOf(ink);
  return [names.join(' '), { color: `light-dark(${css(readable(rgb, LIGHT_GROUND))}, ${css(readable(rgb, DARK_GROUND))})` }];
}

function onGround(ink: number | undefined, ground: number | undefined): CSSProperties {
  const under = ground === undefined ? ([208, 212, 218] as const) : exact(ground);
  const over = ink === undefined ? contrary(under) : readable(exact(ink), under);
  return { color: css(over), backgroundColor: css(under) };
}

function exact(colour: number): Rgb {
  return (isNamed(colour) ? TERMINAL[colour] : undefined) ?? rgbOf(colour);
}

function contrary(ground: Rgb): Rgb {
  return luminance(ground) > 0.18 ? [20, 22, 26] : [250, 251, 252];
}
